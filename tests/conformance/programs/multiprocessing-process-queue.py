from multiprocessing import Process, Queue, Pipe

def work(q, name):
    for i in range(3):
        q.put((name, i))

def talk(c):
    c.send(["ping", c.recv()])
    c.close()

if __name__ == "__main__":
    q = Queue()
    ps = [Process(target=work, args=(q, n)) for n in "ab"]
    for p in ps:
        p.start()
    print(sorted(q.get(timeout=60) for _ in range(6)))
    for p in ps:
        p.join()
    print([p.exitcode for p in ps], q.empty())
    a, b = Pipe()
    p = Process(target=talk, args=(b,))
    p.start()
    a.send("pong")
    print(a.recv())
    p.join()
