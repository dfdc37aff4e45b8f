import gc


class D:
    def __del__(self):
        print("cycle collected")


a, b = D(), D()
a.other, b.other = b, a
del a, b
print("before", gc.isenabled())
