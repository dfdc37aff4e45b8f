// Package seccomp holds the default-deny system call profile of a sandbox as data: what init and the job may ask the sentry for.
// It is the second wall inside the sandbox. The first is the sentry itself; this one keeps a job away from the parts of it that no
// honest program needs (mounts, namespaces, tracing, io_uring, keys…), and it is loaded by runsc only under --oci-seccomp.
//
// Rules that come from the pinned runsc (runsc/specutils/seccomp), each held by a test:
//   - every refusal is EPERM: errnoRet is ignored;
//   - a name that runsc does not know is dropped without an error, so every name here is checked against its table;
//   - comparisons are made on 64 bits although the sentry reads most arguments as 32, so every condition here masks to 32 bits:
//     an unmasked "not equal" is passed by any value with a bit above them;
//   - two conditions on one argument in one entry mean "or"; here an entry has at most one condition per argument;
//   - numbers that the table does not hold (x32, later kernels) are refused as EPERM, not ENOSYS.
//
// Decisions: seccomp(2) and PR_SET_SECCOMP are refused (a job's own filter would cost the sentry time and buys the job nothing).
// clone3 is allowed because glibc's threads need it and its flags lie behind a pointer; a job can so become root of a user
// namespace of its own inside the sandbox, where nothing that such a root could use (mount, chroot, setns, keys) is allowed. ioctl
// is not filtered: what the sentry answers acts on the sandbox's own objects, it has no TIOCSTI, and programs tell ENOTTY from
// EPERM. Own-child debugging (ptrace, process_vm_*) is refused. prctl, socket, clone, personality, mknod: see the table.
//
// Not here because nothing that is expected to run needs them, and because runsc compiles the list at every boot in a time that grows
// with the square of its length (some 5 ms for these, 20 ms for 350 names): System V IPC, names that the C
// library replaced long ago, and calls that the sentry answers with EPERM anyhow.
//
// Syscall numbers a later runsc implements do not become allowed by themselves: the table is an allow-list.
package seccomp
