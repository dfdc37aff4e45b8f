import sys
for s in (sys.stdin, sys.stdout, sys.stderr):
    print(type(s).__name__, type(s.buffer).__name__, s.line_buffering, s.write_through, s.encoding, s.errors, s.newlines)
