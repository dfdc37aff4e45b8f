import inspect, sys
for f in inspect.stack():
    print(f.filename, f.lineno, f.function, f.code_context)
print(sys._getframe().f_back)
