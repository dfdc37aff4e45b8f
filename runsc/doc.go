// Package runsc starts sandboxes with the runsc binary and clears up after them: one method for each verb that is used, the command
// line as a pure function, and what has to be known of runsc's own files and processes.
//
// Only two verbs are used. `run -detach` boots a sandbox; `--version` says what the binary is. Control adds a container to a sandbox that
// waits for one, without a command, and UseSentry names a smaller binary for the sandbox process. Nothing else asks runsc: a sandbox
// is ended by killing its cgroup leaf (or, on a host without one, the processes that Processes finds), and RemoveState removes the
// files, which is all that `runsc delete` would do besides, 20 ms faster and without a running sandbox to talk to.
//
// Facts of the pinned runsc, each held by a test:
//   - `run -detach` hands its stdin, stdout and stderr on to PID 1 of the sandbox as they are, a socket included. Its own complaints
//     also go to stderr; --log-fd gives them once more, as JSON, on a descriptor that no child inherits. It gives all three to the
//     sandbox's user with chown(2), which for /dev/null would be the host's own.
//   - The sandbox process is named runsc-sandbox and the gofer runsc-gofer; both carry --bundle in their arguments, run in sessions
//     of their own and stay when the command is gone, as children of the nearest subreaper. Everything else of a sandbox
//     lives in the sandbox process's own PID namespace and dies with it.
//   - In --root there are, for a sandbox, ID_sandbox:ID.state, ID_sandbox:ID.lock and runsc-ID.sock, and nothing anywhere else,
//     provided that the path of the socket fits in 107 bytes: otherwise runsc quietly goes on to /var/run, /run and /tmp.
//   - A gofer with the default --gofer-network-namespace pins a namespace by a bind mount in --root that nothing removes.
//   - The sandbox process logs to nowhere unless told to. Its environment is empty, whatever that of the command is.
package runsc
