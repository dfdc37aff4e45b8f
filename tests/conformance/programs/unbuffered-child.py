import os, sys
sys.stdout.write("once ")
if os.fork() == 0:
    os._exit(0)
os.wait()
print("only")
