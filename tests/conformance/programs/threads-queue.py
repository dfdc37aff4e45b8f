import queue, threading
q = queue.Queue()
done = queue.Queue()


def work():
    while (item := q.get()) is not None:
        done.put(item * 2)


t = threading.Thread(target=work)
t.start()
for i in range(5): q.put(i)
q.put(None)
t.join()
print([done.get() for _ in range(5)])
