import os, sys
print("parent")
pid = os.fork()
if pid == 0:
    print("child")
    os._exit(5)
_, status = os.waitpid(pid, 0)
print(os.WEXITSTATUS(status))
