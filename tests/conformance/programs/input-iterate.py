import sys
for line in sys.stdin:
    print("never", line)
print("none", sys.stdin.isatty(), sys.stdin.readable(), sys.stdin.encoding, sys.stdin.errors)
