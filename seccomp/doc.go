// Package seccomp holds the default-deny system call profile of a sandbox as data: what init and the job may ask the sentry for.
// It is the second wall inside the sandbox. The first is the sentry itself; this one keeps a job away from the parts of it that no
// honest program needs (mounts, namespaces, tracing, io_uring, keys…), and it is loaded by runsc only under --oci-seccomp.
//
// Rules that come from the pinned runsc (runsc/specutils/seccomp), each held by a test:
//   - every SCMP_ACT_ERRNO is EPERM: errnoRet is ignored;
//   - a name that runsc does not know is dropped without an error, so every name here is checked against its table;
//   - comparisons are made on 64 bits although the sentry reads most arguments as 32, so every condition here masks to 32 bits:
//     an unmasked "not equal" is passed by any value with a bit above them;
//   - two conditions on one argument in one entry mean "or"; here an entry has at most one condition per argument;
//   - numbers that the table does not hold (x32, later kernels) are refused as EPERM, not ENOSYS.
//
// Decisions: seccomp(2) and PR_SET_SECCOMP are refused (a job's own filter would cost the sentry time and buys the job nothing).
// clone3 answers ENOSYS, because a filter cannot read its flags behind a pointer: with CLONE_NEWUSER a job got every capability
// over a user namespace of its own, attached a TUN device and made veth and bridge links over netlink. ENOSYS makes glibc, musl
// and Go fall back to clone, whose flags are filtered; EPERM breaks glibc's threads. The errno comes from SCMP_ACT_TRACE: a
// traced call without a tracer is ENOSYS (seccomp(2)), and ptrace is refused, so that no job has a tracer. ioctl is not filtered:
// what the sentry answers acts on the sandbox's own objects, it has no TIOCSTI, and programs tell ENOTTY from EPERM. Own-child
// debugging (ptrace, process_vm_*) is refused. prctl, socket, clone, personality, mknod: see the table.
//
// Not here because nothing that is expected to run needs them, and because runsc compiles the list at every boot in a time that grows
// with the square of its length (some 5 ms for these, 20 ms for 350 names): System V IPC, names that the C
// library replaced long ago, and calls that the sentry answers with EPERM anyhow.
//
// Syscall numbers a later runsc implements do not become allowed by themselves: the table is an allow-list.
package seccomp
