print(__name__, __file__, __doc__, __package__, __spec__, type(__loader__).__name__)
print(sorted(globals()))
