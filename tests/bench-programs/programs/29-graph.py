import collections, heapq
graph = collections.defaultdict(dict)
for i in range(400):
    for j in ((i * 7 + 1) % 400, (i * 3 + 2) % 400, (i + 1) % 400):
        graph[i][j] = 1 + (i * j) % 9
def shortest(start):
    best, todo = {start: 0}, [(0, start)]
    while todo:
        d, node = heapq.heappop(todo)
        if d > best[node]: continue
        for to, w in graph[node].items():
            if d + w < best.get(to, 1 << 30):
                best[to] = d + w
                heapq.heappush(todo, (d + w, to))
    return best
d = shortest(0)
print(len(d), max(d.values()), sum(d.values()))
