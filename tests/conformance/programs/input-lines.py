#: stdin "first\nsecond without end"
print([input(), input("? ")])
import sys
print(repr(sys.stdin.read()))
