import sys
print(sys.getrecursionlimit())


def depth(n=1):
    try:
        return depth(n + 1)
    except RecursionError:
        return n


print(depth() > 900)
sys.setrecursionlimit(5000)
print(depth() > 4000)
