# Waits for the code of a job, then is gone. See guest/hook.go for the other side.
#
# CPython imports this from site, after the interpreter is complete and before it opens the program. Nothing is imported here that is not
# loaded already (but for what is to be preloaded), and nothing stays. What the interpreter would look for next is looked for ahead of time, since
# every look costs the job system calls: where the image has no sitecustomize and no usercustomize of its own, they are reported missing without a
# second search. Works from CPython 3.8 on.
import sys, os


def message():
    data = b""
    while len(data) < 8 or len(data) < 8 + int(data[:8]):
        part = os.read(3, 65536)
        if not part:
            os._exit(1)
        data += part
    return [os.fsdecode(f) for f in data[8:-1].split(b"\0")] if len(data) > 8 else []


def say(text):
    try:
        os.write(3, text)
    except OSError:
        os._exit(1)  # a preloaded module has closed it


def preload(names, here):
    if names:  # with the environment that the program will see
        path = os.environ.pop("PYTHONPATH", "")[len(here) + 1:]
        if path:
            os.environ["PYTHONPATH"] = path
    for name in names:
        try:
            __import__(name)
        except BaseException as e:
            try:
                why = type(e).__name__ + ": " + str(e)
            except BaseException:
                why = "an exception that has no text"
            say(("Fcannot preload " + name + ": " + why).encode("utf-8", "replace")[:500])
            os._exit(1)


def missing(name):
    """Whether importing name finds nothing, as far as that can be told without doing it."""
    return all(f.__module__.startswith("_frozen_importlib") and f.find_spec(name, None, None) is None for f in sys.meta_path)


def restart(program, args, path, env):
    """Executes the interpreter again, for another program, as if there never had been a hook."""
    os.execve(path, ["python3", "-u", program] + args, dict(kv.split("=", 1) for kv in env))


def wait():
    here = __file__.rpartition("/")[0]
    sys.path.remove(here)
    sys.path_importer_cache.pop(here, None)
    del sys.modules[__name__]
    site = sys.modules["site"]
    preload(message(), here)
    none = missing("sitecustomize")
    neither = none and (not site.ENABLE_USER_SITE or missing("usercustomize"))
    if neither and site.ENABLE_USER_SITE:
        search = site.execusercustomize

        def nothing():
            site.execusercustomize = search

        site.execusercustomize = nothing
    say(b"R")
    fields = message()
    os.close(3)
    n = int(fields[0]) + 1
    if fields[n]:
        restart(fields[n], fields[1:n], fields[n + 1], fields[n + 2:])
    sys.argv += fields[1:n]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv += fields[1:n]
    for field in fields[n + 1:]:
        name, sep, value = field.partition("=")
        if not sep:
            os.environ.pop(name, None)
        elif name:
            os.environ[name] = value
        elif neither:  # the program is no archive, and the interpreter looks at it next: what it remembers once it has
            sys.path_importer_cache[value] = None
    globals().clear()  # they and the functions in them hold each other
    if none:
        raise ModuleNotFoundError("No module named 'sitecustomize'", name="sitecustomize")


wait()
import sitecustomize
