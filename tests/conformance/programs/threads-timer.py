import threading
e = threading.Event()
threading.Timer(0.05, lambda: (print("timer"), e.set())).start()
print(e.wait(30))
