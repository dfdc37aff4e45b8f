import weakref


class D: pass


d = D()
weakref.finalize(d, print, "finalized")
r = weakref.ref(d, lambda _: print("ref died"))
print("end")
