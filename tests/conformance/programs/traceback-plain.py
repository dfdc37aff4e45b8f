def inner(d):
    return d["key"]


def outer():
    x = {}
    return inner(x)


outer()
