import threading, time
started = threading.Event()


def loop():
    started.set()
    while True:
        time.sleep(1000)
        print("never")


threading.Thread(target=loop, daemon=True).start()
started.wait()
print("end")
