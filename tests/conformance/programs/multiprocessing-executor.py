from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
import os

def cube(n):
    return n ** 3

def die(n):
    os._exit(n)

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as e:
        print(list(e.map(cube, range(6))), sorted(f.result() for f in as_completed([e.submit(cube, i) for i in (2, 3)])))
        try:
            e.submit(divmod, 1, 0).result()
        except ZeroDivisionError as x:
            print(repr(x))
    with ProcessPoolExecutor(1) as e:
        try:
            e.submit(die, 3).result()
        except BrokenProcessPool as x:
            print(type(x).__name__)
