# Waits for the code of a job, then is gone. See guest/hook.go for the other side.
#
# CPython imports this from site, after the interpreter is complete and before it opens the program. Nothing is imported here that is not
# loaded already, and nothing stays: the last statement imports the image's own sitecustomize, or raises the ImportError that site expects
# when there is none, so that what site sees is what it would have seen without this file. Works from CPython 3.8 on.
import sys, os


def message():
    data = b""
    while len(data) < 8 or len(data) < 8 + int(data[:8]):
        part = os.read(3, 65536)
        if not part:
            os._exit(1)
        data += part
    return [os.fsdecode(f) for f in data[8:-1].split(b"\0")]


def wait():
    here = __file__.rpartition("/")[0]
    message()
    os.write(3, b"R")
    fields = message()
    os.close(3)
    n = int(fields[0]) + 1
    sys.argv += fields[1:n]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv += fields[1:n]
    for name, sep, value in (f.partition("=") for f in fields[n:]):
        if sep:
            os.environ[name] = value
        else:
            os.environ.pop(name, None)
    sys.path.remove(here)
    sys.path_importer_cache.pop(here, None)
    del sys.modules[__name__]


wait()
import sitecustomize
