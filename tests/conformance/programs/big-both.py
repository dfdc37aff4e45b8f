import sys
for i in range(500):
    print("o" * 100)
    print("e" * 100, file=sys.stderr)
