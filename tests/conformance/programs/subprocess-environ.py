import os, subprocess, sys
os.environ["ADDED"] = "1"
out = subprocess.run([sys.executable, "-c", "import os, sys; print(sorted(k for k in os.environ if 'PYTHON' in k), os.environ['ADDED'], 'sitecustomize' in sys.modules, [p for p in sys.path if 'tsubo' in p])"], capture_output=True, text=True)
print(out.stdout, out.stderr)
