import sys
sys.unraisablehook = lambda u: print("unraisable", type(u.exc_value).__name__, u.err_msg)


class D:
    def __del__(self):
        raise ValueError


D()
sys.stdout.flush()
