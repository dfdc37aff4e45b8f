import os, select, stat
print(os.read(0, 10), os.isatty(0), stat.S_ISFIFO(os.fstat(0).st_mode), select.select([0], [], [], 5)[0])
