import sys, threading
threading.stack_size(16 << 20)
sys.setrecursionlimit(20000)


def f(n):
    return n and f(n - 1)


t = threading.Thread(target=lambda: print(f(15000)))
t.start()
t.join()
