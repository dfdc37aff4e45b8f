import os, subprocess
print(os.system("echo shell; exit 3"))
print(subprocess.getoutput("echo out; echo err >&2"))
with os.popen("cat", "w") as p:
    p.write("x")
