import sys
for i in range(50):
    print(i, file=sys.stderr, end=" ")
sys.stderr.flush()
1 / 0
