import subprocess, sys
p = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdout.write(sys.stdin.read().upper())"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(p.communicate(b"shout")[0], p.returncode)
