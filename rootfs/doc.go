// Package rootfs turns verified image layers into one read-only root per image: an EROFS image
// file, or a directory where no usable mkfs.erofs is installed.
//
// Everything in a layer is hostile. The daemon itself never walks, unpacks or mounts it: it checks
// names and digests, and leaves the rest to children. Each child is the daemon's own binary started
// again (MaybeChild) in user, mount, PID, network, IPC and UTS namespaces of its own, with an id
// range that nobody else has, without supplementary groups, with rlimits, chrooted into the work
// directory (mkfs.erofs: in a root with the tree and the host's programs, all read-only), and
// holding no capability but those that its step needs; what it needs from outside it gets as
// descriptors. Without user namespaces nothing is built (ErrConfig): unpacking as the host's root
// is no fallback.
//
// The steps, each a child of its own, of which the next starts when the one before is dead:
//
//	unpack   layers → work/tree: digest, size and diff id of every layer, limits, no device, setuid bit or xattr; then the mount points
//	mkfs     work/tree → work/out/root.erofs, by mkfs.erofs in the same user namespace, so that the image's own ids come out
//	verify   the image read back with a reader of its own and compared with the tree: names, types, modes, ids, times, links, bytes
//
// Then the daemon takes ownership, syncs, and commits by one rename. A directory root skips mkfs
// and verify; the daemon instead moves the tree's ids out of the child's range (see shiftTree).
//
// On disk, below the Store's directory (state, mode 0700, one daemon at a time):
//
//	roots/<key>/root.json               what it is; see record
//	roots/<key>/root.erofs | tree/      the root
//	staging/<random>/                   a build under way; leftovers are swept by Open and Sweep
//
// The package is long because it is both sides of one boundary: the store (store.go, build.go,
// child.go, shift.go, remove.go) and what runs in the children (childmain.go, unpack.go,
// mkfsroot.go, verify.go), which must be the same binary and agree on every detail of the request
// between them.
package rootfs
