// Package seccomp holds the default-deny system call profile of a sandbox as data: the calls that
// init and the job may make to the sentry. The sentry itself is the first barrier in the sandbox,
// and this profile the second. It keeps a job away from parts of the sentry that no honest program
// needs (mounts, namespaces, tracing, io_uring, keys…). runsc loads the profile only under
// --oci-seccomp.
//
// The profile follows these rules of the pinned runsc (runsc/specutils/seccomp), each checked by a
// test:
//   - Every SCMP_ACT_ERRNO is EPERM: errnoRet is ignored.
//   - A name that runsc does not know is dropped without an error, so every name here is checked
//     against runsc's table.
//   - Comparisons use 64 bits although the sentry reads most arguments as 32 bits, so every
//     condition here masks to 32 bits. A value with a higher bit set would pass an unmasked "not
//     equal".
//   - Two conditions on the same argument in an entry mean "or". Here an entry has at most one
//     condition per argument.
//   - Numbers outside of the table (x32, later kernels) return EPERM, not ENOSYS.
//
// Decisions: seccomp(2) and PR_SET_SECCOMP are refused, because a job's own filter would cost the
// sentry time and gives the job nothing. clone3 returns ENOSYS, because a filter cannot read its
// flags behind a pointer. With CLONE_NEWUSER a job got every capability over its own user
// namespace, attached a TUN device and created veth and bridge links over netlink. ENOSYS makes
// glibc, musl and Go fall back to clone, whose flags are filtered; EPERM breaks glibc's threads.
// The errno comes from SCMP_ACT_TRACE: a traced call without a tracer returns ENOSYS (seccomp(2)),
// and ptrace is refused, so no job has a tracer. ioctl is not filtered: it acts only on the
// sandbox's own objects, the sentry has no TIOCSTI, and programs distinguish ENOTTY from EPERM.
// Debugging of a process's own children (ptrace, process_vm_*) is refused. For prctl, socket,
// clone, personality and mknod see the table.
//
// System V IPC, names that the C library replaced long ago, and calls that the sentry answers with
// EPERM anyhow are left out. No expected program needs them, and runsc compiles the list at every
// boot in time quadratic in its length (about 5 ms for these names, 20 ms for 350).
//
// System calls that a later runsc implements do not become allowed, because the table is an
// allow-list.
package seccomp
