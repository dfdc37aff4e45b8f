try:
    try:
        1 / 0
    except ZeroDivisionError as e:
        raise RuntimeError("middle") from e
except RuntimeError as e:
    raise OSError(2, "last", "name") from e
