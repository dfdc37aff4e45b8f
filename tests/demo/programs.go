package main

const helloCode = `
import csv, json
data = json.load(open("/input/data.json"))
n = data["n"]
with open("/output/squares.csv", "w", newline="") as f:
    w = csv.writer(f)
    w.writerow(["n", "square"])
    w.writerows((i, i * i) for i in range(n))
json.dump({"greeting": "hello, " + data["name"], "sum": sum(range(n))}, open("/output/result.json", "w"))
print("hello from", __file__)
`

const networkCode = `
import socket
for host, port in (("1.1.1.1", 443), ("169.254.169.254", 80), ("10.0.0.1", 22)):
    s = socket.socket()
    s.settimeout(5)
    try:
        s.connect((host, port))
        print("CONNECTED", host)
    except OSError as e:
        print(host, e.strerror)
    s.close()
`

const writeCode = `
for path in ("/etc/passwd", "/usr/bin/x", "/code/main.py", "/input/x", "/dev/x", "/.tsubo/x", "/proc/sys/kernel/core_pattern", "/home/sandbox/x"):
    try:
        open(path, "w").write("x")
        print("WROTE", path)
    except OSError as e:
        print(path, e.strerror)
`

const forkCode = `
import errno, os, time
children = 0
refused = 0
for _ in range(2000):
    try:
        pid = os.fork()
    except OSError as e:
        assert e.errno == errno.EAGAIN, e
        refused += 1
        if refused == 5:
            break
        continue
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    children += 1
print(f"EAGAIN after {children} children")
`

const memoryCode = `
hoard = []
while True:
    hoard.append(bytearray(4 << 20))
    print(len(hoard) * 4, "MiB", flush=True)
`

const floodCode = `
import sys
for _ in range(64):
    sys.stdout.write("x" * (1 << 20))
`
