from multiprocessing import Manager, Process

def fill(d, l, n):
    d[n] = n * n
    l.append(n)

if __name__ == "__main__":
    with Manager() as m:
        d, l, ns = m.dict(), m.list(), m.Namespace()
        ns.x = 1
        ps = [Process(target=fill, args=(d, l, i)) for i in range(3)]
        [p.start() for p in ps]
        [p.join() for p in ps]
        print(dict(sorted(d.items())), sorted(l), ns.x, d.get("absent"))
        try:
            d["absent"]
        except KeyError as e:
            print(repr(e))
