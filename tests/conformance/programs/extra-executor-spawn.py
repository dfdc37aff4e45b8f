import multiprocessing as mp


def square(x):
    return x * x


if __name__ == "__main__":
    c = mp.get_context("spawn")
    a, b = c.Pipe()
    p = c.Process(target=b.send, args=(square(7),))
    p.start()
    print(a.recv())
    p.join()
    print(p.exitcode)
