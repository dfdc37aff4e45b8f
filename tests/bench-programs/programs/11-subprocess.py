import subprocess, sys
out = subprocess.run([sys.executable, "-c", "print(sum(range(100)))"], capture_output=True, text=True, check=True)
print(out.stdout.strip(), out.returncode)
try:
    subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)
except subprocess.CalledProcessError as e:
    print("failed with", e.returncode)
