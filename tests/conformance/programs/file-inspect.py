import inspect, linecache


def f(a, b=2):
    # a comment
    return a + b


print(inspect.getsource(f))
print(inspect.getsourcefile(f), inspect.getsourcelines(f)[1], inspect.signature(f))
print(linecache.getline(__file__, 1))
