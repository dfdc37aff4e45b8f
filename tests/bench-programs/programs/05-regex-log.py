import collections, re
line = re.compile(r'(?P<ip>\d+\.\d+\.\d+\.\d+) .* "(?P<verb>GET|POST) (?P<path>\S+)" (?P<status>\d{3})')
log = [f'10.0.0.{i % 9} - - "{"GET" if i % 4 else "POST"} /page/{i % 13}" {200 if i % 11 else 500}' for i in range(1000)]
hits = collections.Counter()
for l in log:
    m = line.match(l)
    hits[m["verb"], m["status"]] += 1
for key, n in sorted(hits.items()):
    print(*key, n)
