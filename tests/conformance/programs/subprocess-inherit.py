import subprocess, sys
print("before")
subprocess.run([sys.executable, "-u", "-c", "print('from the child')"])
print("after")
