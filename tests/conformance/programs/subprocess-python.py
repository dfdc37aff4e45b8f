import subprocess, sys
r = subprocess.run([sys.executable, "-c", "import sys; print('child', sys.argv, sys.path[0]); sys.exit(4)"], capture_output=True, text=True)
print(r.returncode, r.stdout, r.stderr)
