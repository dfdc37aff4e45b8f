import atexit, sys
atexit.register(lambda: sys.exit(9))
print("main")
