import atexit


@atexit.register
def bad():
    raise ValueError("in atexit")


atexit.register(print, "first")
print("main")
