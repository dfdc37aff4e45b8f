from multiprocessing import Process, shared_memory
import os

def fill(name):
    s = shared_memory.SharedMemory(name=name)
    s.buf[:5] = b"child"
    s.close()

if __name__ == "__main__":
    s = shared_memory.SharedMemory(create=True, size=1 << 20)
    print(os.path.exists("/dev/shm/" + s.name.lstrip("/")), oct(os.stat("/dev/shm").st_mode), s.size)
    p = Process(target=fill, args=(s.name,))
    p.start()
    p.join()
    print(bytes(s.buf[:5]), p.exitcode)
    s.close()
    s.unlink()
    l = shared_memory.ShareableList([1, "two", None, 3.5])
    print(list(l), os.path.exists("/dev/shm/" + s.name.lstrip("/")))
    l.shm.close()
    l.shm.unlink()
    try:
        shared_memory.SharedMemory(name="tsubo-absent")
    except FileNotFoundError as e:
        print(e.errno)
