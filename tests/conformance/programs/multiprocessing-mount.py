import os

path = f"/dev/shm/{os.urandom(8).hex()}-"
m = [l.split() for l in open("/proc/mounts") if l.split()[1] == "/dev/shm"]
print({l[2] for l in m}, oct(os.stat("/dev/shm").st_mode))
with open(path + "run", "w") as f:
    f.write("#!/bin/sh\necho ran\n")
os.chmod(path + "run", 0o755)
os.unlink(path + "run")
fd = os.open(path + "x", os.O_CREAT | os.O_RDWR, 0o600)
os.ftruncate(fd, 1 << 20)
print(os.fstat(fd).st_size, os.getuid() == os.fstat(fd).st_uid)
os.unlink(path + "x")
