// Package bundle makes the OCI configuration of one sandbox: values in, config.json out. It touches no kernel object; the one thing
// that it does to the host is to write the file.
//
// Nothing of an image or of a caller reaches a configuration except sizes and paths that tsubo made itself: no environment, no
// command, no annotation, no mount. Check states what every configuration must hold (attack J03), and Write refuses one that
// does not, so that the rule stands at the last place where it can.
//
// Facts of the pinned runsc that the values rest on, each held by a test under runsc: tmpfs takes mode, size, uid and gid only, no
// size means half of the host's memory and 0 means unlimited; a mount of type erofs takes the image file as its source and needs no
// gofer; of the mount options ro, noexec and nosuid are looked at (devices are the sentry's own, nodev is written for other
// runtimes); a network path is ignored under --network=none; every mount point must exist in a read-only root.
package bundle
