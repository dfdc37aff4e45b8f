import importlib, sys
sys.path.insert(0, "/output")
sys.dont_write_bytecode = True
open("/output/mod.py", "w").write("x = 1\n")
import mod
print(mod.x, mod.__file__)
open("/output/mod.py", "w").write("x = 22\n")
importlib.reload(mod)
print(mod.x)
