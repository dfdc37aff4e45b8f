import multiprocessing as mp

def add(lock, value, array, sem, event):
    event.wait(60)
    for i in range(200):
        with lock:
            value.value += 1
            array[i % 4] += 1
    with sem:
        pass

if __name__ == "__main__":
    lock, value, array, sem, event = mp.Lock(), mp.Value("i", 0, lock=False), mp.Array("i", 4), mp.Semaphore(2), mp.Event()
    ps = [mp.Process(target=add, args=(lock, value, array, sem, event)) for _ in range(4)]
    [p.start() for p in ps]
    event.set()
    [p.join() for p in ps]
    print(value.value, array[:], [p.exitcode for p in ps])
    r = mp.RLock()
    with r, r:
        print("twice", lock.acquire(False), lock.acquire(False))
    c, b = mp.Condition(), mp.Barrier(1)
    with c:
        print(c.wait(0.01), b.wait())
