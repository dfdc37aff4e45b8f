import subprocess, sys
try:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(100)"], timeout=0.5)
except subprocess.TimeoutExpired as e:
    print("timed out", e.cmd[1])
