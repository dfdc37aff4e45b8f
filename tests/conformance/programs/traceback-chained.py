def first():
    raise KeyError("first")


try:
    first()
except KeyError:
    raise ValueError("second")
