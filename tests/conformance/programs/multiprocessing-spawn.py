import multiprocessing as mp, sys

def work(q, n):
    q.put((n, __name__, mp.current_process().name, sys.argv))

if __name__ == "__main__":
    ctx = mp.get_context("spawn")
    q = ctx.Queue()
    p = ctx.Process(target=work, args=(q, 7), name="spawned")
    p.start()
    print(q.get(timeout=60))
    p.join()
    print(p.exitcode, mp.get_start_method(), mp.get_all_start_methods())
    with ctx.Pool(2) as pool:
        print(pool.map(abs, [-1, -2]))
