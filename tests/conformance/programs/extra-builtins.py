import builtins
print(dir(builtins), __builtins__ is builtins)
