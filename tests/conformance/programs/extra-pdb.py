import sys
sys.breakpointhook = lambda *a, **k: print("breakpoint")
breakpoint()
sys.settrace(lambda *a: None)
print(sys.gettrace() is not None)
