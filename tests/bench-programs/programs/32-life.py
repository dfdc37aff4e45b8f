import collections
cells = {(1, 0), (2, 1), (0, 2), (1, 2), (2, 2)} | {(20 + i, 20) for i in range(10)}
for _ in range(60):
    near = collections.Counter((x + dx, y + dy) for x, y in cells for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy)
    cells = {c for c, n in near.items() if n == 3 or n == 2 and c in cells}
print(len(cells), min(cells), max(cells))
