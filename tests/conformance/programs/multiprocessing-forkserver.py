import multiprocessing as mp

def work(c):
    c.send(mp.current_process().name)

if __name__ == "__main__":
    mp.set_start_method("forkserver")
    a, b = mp.Pipe()
    p = mp.Process(target=work, args=(b,), name="served")
    p.start()
    print(a.recv())
    p.join()
    print(p.exitcode, mp.get_start_method())
