import os, sys
for i in range(20):
    print("out", i)
    os.write(1, b"raw %d\n" % i)
    sys.stdout.write("text ")
    sys.stdout.buffer.write(b"bytes\n")
