import threading
local = threading.local()
local.x = "main"
seen = []
t = threading.Thread(target=lambda: seen.append(hasattr(local, "x")))
t.start(); t.join()
print(seen, local.x, threading.current_thread().name, threading.current_thread().daemon)
