// Package bundle generates the OCI configuration of a sandbox: values in, config.json out. It
// touches no kernel object; its only effect on the host is that file.
//
// Only sizes and paths that tsubo made reach a configuration: no environment, command, annotation
// or mount comes from an image or a caller. [Check] states what every configuration must hold
// (attack J03). [Write] refuses any other, so that the rule is enforced at the last possible place.
//
// The values rest on these facts about the pinned runsc, each checked by a test under runsc:
//   - tmpfs accepts only mode, size, uid and gid. No size means half of the host's memory, and 0
//     means unlimited.
//   - A mount of type erofs has the image file as its source and needs no gofer.
//   - Of the mount options, runsc honors ro, noexec and nosuid. Devices are the sentry's own, so
//     nodev is only for other runtimes.
//   - A network path is ignored under --network=none.
//   - Every mount point must exist in a read-only root.
package bundle
