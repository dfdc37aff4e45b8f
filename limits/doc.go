// Package limits gives every sandbox a cgroup v2 leaf of its own, and reports what this host can
// enforce.
//
// A daemon goes through two stages. In stage 1, in the host's namespaces, it asks FindSubtree for
// the one cgroup subtree that is its own and calls Enter, which locks the subtree, sweeps what a
// crash left in it, and prepares a thread whose cgroup namespace is rooted there and whose
// /sys/fs/cgroup is that view; Entered.Exec then executes the program again from that thread. In
// stage 2 Open verifies the view and returns the Tree. From there on neither the daemon nor a runsc
// that it starts has a path by which it could write above the subtree:
//
//	/sys/fs/cgroup           the subtree: no process, controllers handed down
//	/sys/fs/cgroup/daemon    tsubod and the runsc commands
//	/sys/fs/cgroup/jobs/ID   a leaf: one sandbox
//
// Every value that is written to a leaf is read back, and what was read back is what Leaf.Enforced
// reports. Nothing here succeeds in part: a host that cannot enforce gets a typed error
// (MissingError, BusyError, ForeignError, ReadbackError), and an operation that fails leaves no
// cgroup behind.
//
// Resources are set by opencontainers/cgroups, in stage 2 only, because it remembers the first
// /sys/fs/cgroup that it opened. What this package opens itself is opened beneath a directory that
// was checked to be on cgroup2, without following a link.
//
// The package is long because both stages and the leaf work on the same checked handle of a cgroup
// directory, a file for each object.
package limits
