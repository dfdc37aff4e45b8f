import queue, threading
q, total, lock = queue.Queue(), 0, threading.Lock()
def worker():
    global total
    while (n := q.get()) is not None:
        with lock:
            total += n
threads = [threading.Thread(target=worker) for _ in range(4)]
for t in threads: t.start()
for n in range(1000): q.put(n)
for _ in threads: q.put(None)
for t in threads: t.join()
print(total)
