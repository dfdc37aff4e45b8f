import sys, traceback


def f():
    traceback.print_stack()
    traceback.print_stack(file=sys.stdout)
    print("".join(traceback.format_stack()))
    print(traceback.extract_stack())


f()
try:
    [].pop()
except IndexError:
    print(traceback.format_exc())
