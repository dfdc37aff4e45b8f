# Waits for the code of a job, then is gone. See guest/hook.go for the other side.
#
# CPython imports this from site, after the interpreter is complete and before it opens the program. Nothing is imported here that is not
# loaded already (but for what is to be preloaded), and nothing stays. What the interpreter would look for next is looked for ahead of time, since
# every look costs the job system calls: where the image has no sitecustomize and no usercustomize of its own, they are reported missing without a
# second search. Where it can make no difference, what the interpreter takes apart at its end is left to the kernel (shortcut). Works from
# CPython 3.8 on.
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


# Modules that come with CPython, and the private ones below them, whose objects do nothing when they are taken apart.
HARMLESS = frozenset("""
abc array ast atexit base64 binascii bisect calendar cmath codecs collections contextlib copy copyreg csv dataclasses datetime decimal dis
encodings enum errno fnmatch fractions functools gc genericpath hashlib heapq hmac html inspect io itertools json keyword linecache locale
marshal math numbers opcode operator os posix posixpath pprint random re reprlib secrets sitecustomize sre_compile sre_constants sre_parse
stat statistics string struct sys textwrap time token tokenize types typing unicodedata usercustomize uuid warnings weakref zlib
_abc _ast _bisect _blake2 _codecs _collections _collections_abc _csv _datetime _decimal _functools _hashlib _heapq _io _json _locale _md5
_opcode _opcode_metadata _operator _pydatetime _pydecimal _random _sha1 _sha2 _sha256 _sha3 _sha512 _signal _sre _stat _statistics _string
_strptime _struct _tokenize _typing _uuid _warnings _weakref _weakrefset
""".split())

# Variables that the interpreter reads when it starts and that change nothing about its end.
SETTINGS = frozenset("PYTHON" + v for v in "PATH HASHSEED UTF8 COERCECLOCALE IOENCODING UNBUFFERED DONTWRITEBYTECODE NOUSERSITE SAFEPATH OPTIMIZE".split())


def shortcut(start):
    """Makes what arranges that the interpreter ends at once when its program has ended well and nothing is left to happen; None: never.

    When its program has ended, CPython joins threads and calls the functions of atexit, of which ours, registered first, is the last; then it
    writes out what sys.stdout and sys.stderr hold, calls what the objects that are left want called, frees everything, and exits with the status
    that it had known before. Ours calls os._exit instead where there is nothing to write out, where no object wants anything called, and
    where that status is 0; else it does nothing. start has the names of the modules that the interpreter itself has loaded.
    """
    if sys.implementation.name != "cpython" or not (3, 10) <= sys.version_info < (3, 14) or "t" in sys.abiflags or sys.warnoptions:
        return
    if sys._xoptions or any(v.startswith("PYTHON") and v not in SETTINGS for v in os.environ):
        return
    import gc, atexit
    del sys.modules["gc"], sys.modules["atexit"]
    import _weakref  # loaded at any start
    # A program may change what these names mean.
    kind_of, every, number, own, harmless, everything, builtin = type, map, id, getattr, HARMLESS, BaseException, type(len)
    mro, namespace = type.__dict__["__mro__"].__get__, type.__dict__["__dict__"].__get__
    ref, callback = _weakref.ref, _weakref.ref.__dict__["__callback__"].__get__
    leave, threads = os._exit, sys.modules["_thread"]._count
    me, myself, nice, stop = os.getpid(), os.getpid, os.setpriority, os.kill
    young, frozen, stats = gc.get_objects, gc.get_freeze_count, gc.get_stats
    modules, main, system, environ = sys.modules, vars(sys.modules["__main__"]), vars(sys), os.environ._data
    out, err = sys.stdout, sys.stderr
    streams = [f for f in (sys.stdin, out, err) if f is not None]
    streams += [f.buffer for f in streams]
    streams += [f.raw for f in streams if hasattr(f, "raw")]
    if out is None or err is None:
        return

    def quiet(objects, callbacks=()):
        """Whether none of the objects wants anything called at its end; nothing of theirs is called to know."""
        classes, refs = {}, {}
        for kind in {number(k): k for k in every(kind_of, objects)}.values():
            for c in mro(kind):
                if "__del__" in namespace(c):
                    return False
                if c is kind_of:
                    classes[number(kind)] = kind
                elif c is ref:
                    refs[number(kind)] = kind
        for o in objects:
            k = number(kind_of(o))
            if k in classes and "__del__" in namespace(o):
                return False
            if k in refs:
                c = callback(o)
                if kind_of(c) is builtin and own(c, "__name__") == "_destroy":
                    continue  # an abstract class that forgets another
                if c is not None and not (callbacks and own(c, "__module__", None) in callbacks):
                    return False
        return True

    mine = {id(f) for f in streams}
    present = [o for o in gc.get_objects() if id(o) not in mine and not (type(o) is type and "__del__" in namespace(o))]
    if not quiet(present, ("_frozen_importlib", "weakref", "_weakrefset", "functools")):
        return
    # What a program may give a __del__ of its own.
    given = list({id(c): namespace(c) for kind in set(map(type, present)) for c in kind.__mro__}.values())
    if any(n not in start and n.partition(".")[0] not in HARMLESS for n in modules):
        return
    known = frozenset(modules)
    gc.freeze()  # with unfreeze: from now on the youngest generations hold what the program has made
    gc.unfreeze()
    full = [s["collections"] for s in stats()[1:]]

    def last():
        try:
            if (system.get("modules") is not modules or "__main__" not in modules
                    or "__file__" in main  # the interpreter has not taken it away: SystemExit
                    or "last_type" in system or "last_exc" in system  # another exception
                    or system.get("stdout") is not out or system.get("stderr") is not err or not out.write_through or not err.write_through
                    or threads() or b"PYTHONINSPECT" in environ or frozen()
                    or [s["collections"] for s in stats()[1:]] != full):
                return
            for names in given:
                if "__del__" in names:
                    return
            for name in modules:
                if name not in known and name.partition(".")[0] not in harmless:
                    return
            if quiet(young(generation=0)) and quiet(young(generation=1)):
                if myself() == me:
                    nice(0, 0, 13)  # guest/reap.go, restNice
                    stop(me, 19)
                leave(0)
        except everything:
            pass

    return lambda: atexit.register(last)


def wait():
    here = __file__.rpartition("/")[0]
    start = frozenset(sys.modules)
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
    arrange = shortcut(start)
    say(b"R")
    fields = message()
    os.close(3)
    n = int(fields[0]) + 1
    sys.argv += fields[1:n]
    if hasattr(sys, "orig_argv"):
        sys.orig_argv += fields[1:n]
    for field in fields[n:]:
        name, sep, value = field.partition("=")
        if not sep:
            os.environ.pop(name, None)
        elif name:
            os.environ[name] = value
        elif not value:
            if arrange:
                arrange()
        elif neither:  # the program is no archive, and the interpreter looks at it next: what it remembers once it has
            sys.path_importer_cache[value] = None
    globals().clear()  # they and the functions in them hold each other
    if none:
        raise ModuleNotFoundError("No module named 'sitecustomize'", name="sitecustomize")


wait()
import sitecustomize
