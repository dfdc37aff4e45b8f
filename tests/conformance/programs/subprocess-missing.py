import subprocess
try:
    subprocess.run(["/no/such/program"])
except FileNotFoundError as e:
    print(e)
subprocess.run(["false"], check=True)
