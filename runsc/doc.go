// Package runsc boots sandboxes with the runsc binary and removes what they leave: a method for
// each verb in use, the command line as a pure function, and the facts about runsc's files and
// processes.
//
// Only two verbs are used: `run -detach` boots a sandbox, and `--version` returns the version of
// the binary. [Control] adds a container to a waiting sandbox without a command, and
// [Runsc.UseSentry] selects a smaller binary for the sandbox process. Nothing else calls runsc. A
// sandbox is ended by killing its cgroup leaf or, on a host without leaves, the processes that
// [Runsc.Processes] returns. [Runsc.RemoveState] then removes the files. `runsc delete` would do
// nothing more, but takes 20 ms longer and needs a running sandbox to talk to.
//
// Facts about the pinned runsc, each checked by a test:
//   - `run -detach` passes its stdin, stdout and stderr to PID 1 of the sandbox unchanged, even if
//     they are sockets. Its own errors also go to stderr; --log-fd writes them a second time, as
//     JSON, to a descriptor that no child inherits. It gives all three files to the sandbox's user
//     with chown(2), which for /dev/null would change the host's own.
//   - The sandbox process is named runsc-sandbox and the gofer runsc-gofer. Both have --bundle in
//     their arguments, run in their own sessions and outlive the command as children of the nearest
//     subreaper. All other processes of a sandbox are in the sandbox process's PID namespace and
//     die when it exits.
//   - The files of a sandbox are ID_sandbox:ID.state, ID_sandbox:ID.lock and runsc-ID.sock in
//     --root, and no others, if the path of the socket fits in 107 bytes. With a longer path runsc
//     silently falls back to /var/run, /run and /tmp.
//   - A gofer with the default --gofer-network-namespace pins a namespace by a bind mount in --root
//     that nothing removes.
//   - The sandbox process logs nowhere by default. Its environment is empty, whatever the command's
//     is.
package runsc
