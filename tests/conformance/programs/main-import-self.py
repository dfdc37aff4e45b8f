import sys
sys.setrecursionlimit(100)
if __name__ == "__main__":
    import main
    print(main.__name__, main.__file__, main is sys.modules["__main__"], main.value)
value = 7
