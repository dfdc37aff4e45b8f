import os, subprocess
print(os.system("echo shell; exit 3"))
print(subprocess.getoutput("echo out; echo err >&2"))
print(os.popen("cat", "w").write("x"))
