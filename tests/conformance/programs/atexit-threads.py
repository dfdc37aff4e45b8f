import atexit, threading, time
atexit.register(print, "after threads")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
print("main")
