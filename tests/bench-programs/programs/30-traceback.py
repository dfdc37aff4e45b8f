import traceback
class AppError(Exception): pass
def low(n): return 10 // n
def high(n):
    try: return low(n)
    except ZeroDivisionError as e: raise AppError(f"cannot use {n}") from e
for n in (5, 0):
    try: print(high(n))
    except AppError as e:
        print("".join(traceback.format_exception_only(e)).strip(), "because of", repr(e.__cause__))
