import pickle


class Point:
    def __init__(self, x):
        self.x = x


p = pickle.loads(pickle.dumps(Point(3)))
print(type(p), p.x, Point.__module__, Point.__qualname__)
