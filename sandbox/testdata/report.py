# Says everything about where it runs that a job can see and that must not depend on how its sandbox was booted (attacks.md I14).
import os, re, resource, signal, socket, stat, sys, threading, time


def text(path):
    try:
        with open(path, errors="replace") as f:
            return f.read()
    except OSError as e:
        return e.strerror


def own(value):
    """The job's pid depends on how many threads init has come to; nothing else may."""
    return re.sub(r"\b%d\b" % os.getpid(), "OWN", str(value))


def say(what, value):
    for line in str(value).splitlines() or [""]:
        print(what, line.rstrip())


def tree(top, depth):
    try:
        names = sorted(os.listdir(top))
    except OSError as e:
        return say("dir " + top, e.strerror)
    say("dir " + top, " ".join(names))
    for name in names:
        path = os.path.join(top, name)
        try:
            st = os.lstat(path)
        except OSError as e:
            say("stat " + path, e.strerror)
            continue
        size = st.st_size if stat.S_ISREG(st.st_mode) else "-"
        say("stat " + path, f"{st.st_mode:o} {st.st_uid} {st.st_gid} {size} {st.st_rdev}")
        if stat.S_ISDIR(st.st_mode) and depth > 0:
            tree(path, depth - 1)


# Counters of the kernel: which one a thing has says only how many came before, and not what it is.
drop = ("State", "VmPeak", "VmSize", "VmRSS", "VmData", "RssAnon", "RssFile", "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
say("status", own("\n".join(l for l in text("/proc/self/status").splitlines() if not l.startswith(drop))))
for line in text("/proc/self/mountinfo").splitlines():
    f = line.split()
    say("mount", " ".join([f[2].split(":")[0], *f[3:]]))
for name in ("mounts", "limits", "cgroup", "cmdline", "environ", "oom_score_adj", "comm", "uid_map", "gid_map"):
    say(name, text("/proc/self/" + name).replace("\0", "\n"))
for name in sorted(os.environ):
    say("env", name + "=" + os.environ[name])
for fd in sorted(os.listdir("/proc/self/fd"), key=int):
    try:
        st = os.fstat(int(fd))
        say("fd", f"{fd} {st.st_mode:o} {st.st_uid} {st.st_gid}")
    except OSError:
        pass  # that of the listing
pids = sorted((p for p in os.listdir("/proc") if p.isdigit()), key=int)
say("pids", own(" ".join(pids)))
for pid in pids:
    f = text(f"/proc/{pid}/stat").split()
    say("process", own(" ".join([pid, text(f"/proc/{pid}/cmdline").replace("\0", " "), f[1], *f[3:8]])))  # without the state of the moment
say("ids", own((os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), os.getresuid(), os.getresgid(), os.getgroups())))
say("tasks", len(os.listdir("/proc/self/task")))
for name in sorted(os.listdir("/proc/self/ns")):
    say("ns", name + " " + os.readlink("/proc/self/ns/" + name).split(":")[0])
say("shared", [n for n in ("ipc", "mnt", "net", "pid", "uts") if os.path.exists("/proc/1/ns/" + n) and os.access("/proc/1/ns/" + n, os.R_OK)])
umask = os.umask(0)
os.umask(umask)
say("umask", f"{umask:o}")
say("cwd", os.getcwd())
say("uname", os.uname())
say("hostname", socket.gethostname() + " " + text("/proc/sys/kernel/domainname"))
say("cpus", (os.cpu_count(), sorted(os.sched_getaffinity(0)), os.nice(0), os.sched_getscheduler(0)))
say("cpuinfo", text("/proc/cpuinfo").count("processor"))
say("memory", [l for l in text("/proc/meminfo").splitlines() if l.startswith(("MemTotal", "SwapTotal"))])
for name in sorted(n for n in dir(resource) if n.startswith("RLIMIT_")):
    say("rlimit", (name, resource.getrlimit(getattr(resource, name))))
for sig in sorted(signal.valid_signals()):
    say("signal", (int(sig), str(signal.getsignal(sig))))
say("mask", signal.pthread_sigmask(signal.SIG_BLOCK, []))
say("timers", (signal.getitimer(signal.ITIMER_REAL), signal.getitimer(signal.ITIMER_VIRTUAL), signal.getitimer(signal.ITIMER_PROF)))
say("threads", threading.active_count())
for kind in ("msg", "sem", "shm"):
    say("sysvipc", kind + " " + text("/proc/sysvipc/" + kind))
tree("/proc/sys", 3)
for name in sorted(os.listdir("/proc/net")):
    if not os.path.isdir("/proc/net/" + name):
        say("net " + name, text("/proc/net/" + name))
for path in ("/proc/sys/kernel/shmmax", "/proc/sys/kernel/sem", "/proc/filesystems", "/proc/cgroups", "/proc/swaps", "/proc/modules"):
    say(path, text(path))
for top in ("/", "/tmp", "/output", "/code", "/input", "/dev", "/dev/shm", "/dev/mqueue", "/.tsubo", "/home", "/run", "/var/tmp"):
    tree(top, 0)
tree("/sys", 3)
for path in ("/", "/tmp", "/output", "/code", "/input", "/dev/shm", "/.tsubo", "/dev", "/proc", "/sys"):
    try:
        st = os.statvfs(path)
        say("statfs", (path, st.f_bsize, st.f_blocks, st.f_bfree, st.f_files, st.f_flag, st.f_namemax))
    except OSError as e:
        say("statfs", (path, e.strerror))
say("argv", (sys.argv, sys.orig_argv, sys.flags, sys.path, sys.executable))
say("modules", sorted(sys.modules))
say("time", (time.tzname, time.timezone))
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.bind("")
    say("unix", "an abstract name can be had")
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "::1")):
    for port in (1, 80, 65535):
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.settimeout(5)
            say("connect", (address, port, s.connect_ex((address, port))))
say("interfaces", socket.if_nameindex())
