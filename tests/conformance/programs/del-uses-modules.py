import os, sys


class D:
    def __del__(self):
        print("os is", os is not None and os.sep, sys is not None)


d = D()
