import json, sys
x = []
for _ in range(100000):
    x = [x]
try:
    repr(x)
except RecursionError as e:
    print("repr", type(e).__name__)
try:
    json.dumps(x)
except RecursionError as e:
    print("json", type(e).__name__)
