import multiprocessing as mp, os, signal, sys

def end(how):
    sys.stderr = open(os.devnull, "w")
    if how == "raise":
        raise ValueError(how)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(how)

if __name__ == "__main__":
    for how in (None, 3, "text", "raise", "kill"):
        p = mp.Process(target=end, args=(how,), daemon=True)
        p.start()
        p.join()
        print(how, p.exitcode)
    p = mp.Process(target=signal.pause)
    p.start()
    p.terminate()
    p.join()
    print(p.exitcode, p.is_alive(), mp.active_children(), mp.parent_process())
