try:
    1 / 0
except ZeroDivisionError:
    raise TypeError("no context") from None
