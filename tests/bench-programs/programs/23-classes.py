import abc, functools
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
    def __lt__(self, other): return self.area() < other.area()
class Square(Shape):
    def __init__(self, side): self.side = side
    def area(self): return self.side ** 2
class Circle(Shape):
    def __init__(self, r): self.r = r
    def area(self): return round(3.14159 * self.r ** 2, 3)
    @functools.cached_property
    def label(self): return f"circle {self.r}"
print([s.area() for s in sorted([Square(2), Circle(1), Square(1.5), Circle(0.5)])], Circle(3).label)
try: Shape()
except TypeError as e: print(type(e).__name__)
