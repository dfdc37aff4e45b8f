import signal, subprocess, sys
p = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
p.send_signal(signal.SIGTERM)
print(p.wait())
