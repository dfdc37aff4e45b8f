import atexit
f = atexit.register(print, "gone")
atexit.unregister(print)
atexit.register(lambda: print("stays"))
