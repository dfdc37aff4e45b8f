package limits

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
)

// DefaultParent is the subtree of a daemon to which no service manager delegated a cgroup.
const DefaultParent = "/tsubo"

// needed lists the controllers that every leaf requires. runsc needs cpuset: it reads the leaf's
// cpuset.cpus.effective and fails without it.
var needed = []string{"cpuset", "cpu", "memory", "pids"}

// Host is the result of [Probe].
type Host struct {
	Kernel      string   // release, as uname has it
	Mount       string   // where the whole cgroup2 hierarchy is mounted; "" if nowhere
	Subtree     string   // the cgroup that would be this daemon's, as a path in the hierarchy; "" if there can be none
	Delegated   bool     // the subtree is the daemon's own cgroup, delegated by the service manager
	Controllers []string // what is, or would be, available in the subtree
	Kill        bool     // cgroup.kill (5.14)
	SwapMax     bool     // memory.swap.max; without it swap is off only on a host that has none
	Peak        bool     // memory.peak (5.19)
	PeakReset   bool     // memory.peak can be reset (6.12)

	missing []Missing
}

// Missing is one requirement for enforcing limits that this host lacks, with its fix.
type Missing struct {
	What string // e.g. "cgroup v2 controller memory"
	Fix  string // one line, for an operator
}

// Missing lists the requirements that this host lacks. Nil means that [Enter] can succeed.
func (h Host) Missing() []Missing { return slices.Clone(h.missing) }

// MissingError reports that the host cannot enforce limits, and why.
type MissingError struct{ Missing []Missing }

func (e *MissingError) Error() string {
	lines := make([]string, len(e.Missing))
	for i, m := range e.Missing {
		lines[i] = m.What + ": " + m.Fix
	}
	return "limits cannot be enforced: " + strings.Join(lines, "; ")
}

func (h *Host) miss(what, fix string) { h.missing = append(h.missing, Missing{what, fix}) }

const fixUnified = "boot with systemd.unified_cgroup_hierarchy=1, so that cgroup v2 owns every controller"

// Probe examines this host and writes nothing. parent is cgroup_parent of the configuration. An
// empty parent means [DefaultParent]. Call Probe in stage 1: the view of stage 2 hides the host's
// hierarchy.
func Probe(parent string) Host {
	var h Host
	var un unix.Utsname
	if err := unix.Uname(&un); err == nil {
		h.Kernel = unix.ByteSliceToString(un.Release[:])
	}
	v1 := v1Controllers()
	mount, err := findMount()
	if err != nil {
		fix := "mount -t cgroup2 none /sys/fs/cgroup"
		if len(v1) > 0 {
			fix = fixUnified
		}
		h.miss("cgroup v2 ("+err.Error()+")", fix)
		return h
	}
	h.Mount = mount
	root, err := openMount(mount)
	if err != nil {
		h.miss("cgroup v2 ("+err.Error()+")", "let tsubod read "+mount)
		return h
	}
	defer root.close()
	h.Subtree, h.Delegated, err = findSubtree(root, parent)
	if err != nil {
		h.miss("a cgroup of its own ("+err.Error()+")", "set cgroup_parent to a cgroup that only tsubo uses, such as "+DefaultParent)
		return h
	}
	h.probeControllers(root, v1)
	h.probeFeatures(root)
	return h
}

func (h *Host) probeControllers(root *dir, v1 map[string]bool) {
	where, file := h.Subtree, "cgroup.controllers"
	d, err := root.walk(where)
	if err != nil { // not made yet: what its parent hands down is what it will have
		where, file = path.Dir(h.Subtree), "cgroup.subtree_control"
		d, err = root.walk(where)
	}
	if err == nil {
		defer d.close()
		h.Controllers, err = d.words(file)
	}
	if err != nil {
		h.miss("cgroup "+where+" ("+err.Error()+")", "make "+where+", or set cgroup_parent to a cgroup whose parent exists")
		return
	}
	all, _ := root.words("cgroup.controllers")
	for _, c := range needed {
		switch {
		case slices.Contains(h.Controllers, c):
		case v1[c]:
			h.miss("cgroup v2 controller "+c, "cgroup v1 holds it: "+fixUnified)
		case h.Delegated:
			h.miss("cgroup v2 controller "+c, "set Delegate=yes in the unit of tsubod")
		case slices.Contains(all, c):
			h.miss("cgroup v2 controller "+c, "enable it down to "+path.Dir(h.Subtree)+": echo +"+c+" > "+
				join(h.Mount, strings.TrimPrefix(join(path.Dir(h.Subtree), "cgroup.subtree_control"), "/")))
		default:
			h.miss("cgroup v2 controller "+c, "boot a kernel that has it and does not turn it off on its command line (cgroup_disable, cgroup_no_v1)")
		}
	}
}

// probeFeatures looks for files that exist in every cgroup except the root. If there is no other
// cgroup, the kernel's release decides.
func (h *Host) probeFeatures(root *dir) {
	h.Kill, h.SwapMax = kernelAtLeast(h.Kernel, 5, 14), true
	h.Peak, h.PeakReset = kernelAtLeast(h.Kernel, 5, 19), kernelAtLeast(h.Kernel, 6, 12)
	if !h.Kill {
		h.miss("cgroup.kill", "boot Linux 5.15 or newer")
	}
	if names, err := root.children(); err == nil {
		for _, name := range names {
			d, err := root.sub(name)
			if err != nil {
				continue
			}
			if d.has("memory.max") {
				h.SwapMax, h.Peak = d.has("memory.swap.max"), d.has("memory.peak")
				h.PeakReset = h.PeakReset && h.Peak
			}
			_ = d.close()
		}
	}
	if !h.SwapMax && hostHasSwap() {
		h.miss("swap accounting (memory.swap.max)", "boot with swapaccount=1, or turn swap off")
	}
}

func kernelAtLeast(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}

// hostHasSwap reports whether any swap is on. An unreadable list counts as swap.
func hostHasSwap() bool {
	b, err := os.ReadFile("/proc/swaps")
	return err != nil || strings.Count(strings.TrimSpace(string(b)), "\n") > 0
}

// v1Controllers returns the controllers that a cgroup v1 hierarchy holds.
func v1Controllers() map[string]bool {
	held := make(map[string]bool)
	paths, err := cgroups.ParseCgroupFile("/proc/self/cgroup")
	if err != nil {
		return held
	}
	for c := range paths {
		if c != "" {
			held[c] = true
		}
	}
	return held
}

// findMount returns a mount point of the whole cgroup2 hierarchy. It prefers /sys/fs/cgroup.
func findMount() (string, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup2"))
	if err != nil {
		return "", fmt.Errorf("read the mount table: %w", err)
	}
	found := ""
	for _, m := range mounts {
		switch {
		case m.Root != "/":
		case m.Mountpoint == mountpoint:
			return m.Mountpoint, nil
		case found == "":
			found = m.Mountpoint
		}
	}
	switch {
	case found != "":
		return found, nil
	case len(mounts) > 0:
		return "", errors.New("mounted in part only")
	}
	return "", errors.New("not mounted")
}

// walk opens the cgroup at a path of the hierarchy, such as "/a/b".
func (d *dir) walk(p string) (*dir, error) {
	if p == "/" {
		p = "/."
	}
	return d.sub(p[1:])
}
