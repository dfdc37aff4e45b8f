import copy, pickle
class Node:
    def __init__(self, value, children=()):
        self.value, self.children = value, list(children)
    def total(self): return self.value + sum(c.total() for c in self.children)
tree = Node(1, [Node(i, [Node(j) for j in range(i)]) for i in range(20)])
again = pickle.loads(pickle.dumps(tree))
print(again.total(), copy.deepcopy(again).total(), len(pickle.dumps(tree)) > 500)
