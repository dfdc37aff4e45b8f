import threading
t = threading.Thread(target=lambda: {}["x"], daemon=True, name="d")
t.start()
t.join()
print("main")
