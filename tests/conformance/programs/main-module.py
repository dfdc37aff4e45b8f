"""A module with a docstring."""
import sys
m = sys.modules["__main__"]
print(m, m.__dict__ is globals(), m.__doc__)
print(__annotations__ if "__annotations__" in globals() else None)
x: int = 1
print(__annotations__)
