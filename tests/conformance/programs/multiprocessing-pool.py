import multiprocessing as mp, os

def square(n):
    return n * n, os.getpid()

if __name__ == "__main__":
    with mp.Pool(3) as pool:
        got = pool.map(square, range(30), chunksize=1)
        print([v for v, _ in got], 1 <= len({p for _, p in got}) <= 3)
        print(pool.apply_async(square, (9,)).get(60)[0], sorted(v for v, _ in pool.imap_unordered(square, range(5))))
        try:
            pool.apply(len, (5,))
        except TypeError as e:
            print(type(e), e, type(e.__cause__).__name__)
