import os
print(sorted(os.listdir("/proc/self/fd"), key=int))
print(os.open("/", os.O_RDONLY), open(__file__).fileno())
