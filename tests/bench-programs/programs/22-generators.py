import heapq, itertools
def primes():
    found = {}
    for n in itertools.count(2):
        p = found.pop(n, None)
        if p is None:
            yield n
            found[n * n] = n
        else:
            m = n + p
            while m in found: m += p
            found[m] = p
print(list(itertools.islice(primes(), 20)), next(itertools.islice(primes(), 999, None)))
print(list(itertools.islice(heapq.merge(range(0, 20, 3), range(0, 20, 4)), 8)))
