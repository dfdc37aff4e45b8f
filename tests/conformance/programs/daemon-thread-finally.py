import threading, time


def f():
    try:
        time.sleep(1000)
    finally:
        print("never")


threading.Thread(target=f, daemon=True).start()
time.sleep(0.05)
