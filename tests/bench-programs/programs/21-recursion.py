import functools, sys
@functools.lru_cache(maxsize=None)
def ways(n, coins=(1, 2, 5, 10, 20, 50, 100, 200)):
    if n == 0: return 1
    if n < 0 or not coins: return 0
    return ways(n, coins[:-1]) + ways(n - coins[-1], coins)
def hanoi(n, a="a", b="b", c="c"):
    return 0 if n == 0 else hanoi(n - 1, a, c, b) + 1 + hanoi(n - 1, c, b, a)
sys.setrecursionlimit(5000)
print(ways(200), hanoi(12))
