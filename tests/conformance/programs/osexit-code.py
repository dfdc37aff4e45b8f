import os, sys
print("flushed")
sys.stdout.buffer.write(b"in a buffer?")
os._exit(3)
