#: stdin "\u0000\u0001\u00ff\r\n\n"
import sys
print(sys.stdin.buffer.read())
