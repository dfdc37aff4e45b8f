package limits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // makes fs2 able to attach device filters
	"github.com/opencontainers/cgroups/fs2"
	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
)

// Boot is the size with which a sandbox boots, before its job is known. It is the shape of an idle
// sandbox.
type Boot struct {
	Memory int64   // bytes: what the guest will see as MemTotal
	CPU    float64 // cores of the job; the guest sees job.GuestCPUs of them
	Tasks  int     // tasks that the job may have, as RLIMIT_NPROC

	Background bool // nobody waits for the sandbox: its CPU weight is low until Apply
}

// BootOf returns the boot size for a job's limits.
func BootOf(l job.Limits) Boot {
	return Boot{Memory: l.Memory, CPU: l.CPU, Tasks: int(min(l.Tasks().Hard, maxTasks))}
}

func (g Boot) check() error {
	switch {
	case g.Memory < int64(os.Getpagesize()):
		return fmt.Errorf("memory of %d bytes: must be at least a page", g.Memory)
	case !(g.CPU >= minCPU && g.CPU <= maxCPU):
		return fmt.Errorf("%v cores: must be %v..%v", g.CPU, minCPU, maxCPU)
	case g.Tasks < 1 || g.Tasks > maxTasks:
		return fmt.Errorf("%d tasks: must be 1..%d", g.Tasks, maxTasks)
	}
	return nil
}

// Leaf is the cgroup of one sandbox. Create, Apply, Lift, Baseline and Remove must not run
// concurrently with each other. All other methods may run beside them. After Remove every method
// except Remove fails.
type Leaf struct {
	ID string

	tree *Tree
	d    *dir
	boot Boot
	now  size // what was written last

	mu      sync.Mutex
	seen    job.Enforced // what the last read-back showed; only the leaf's own fields
	cpu0    uint64       // usage_usec at the baseline
	full0   uint64       // max and oom of memory.events at the baseline
	peak    *os.File     // memory.peak, on which a reset is remembered; nil if there is none
	peak0   uint64       // memory.peak at a baseline that could not reset it
	fresh   bool         // the peak counts from the baseline
	removed bool
}

// Create makes the leaf jobs/ID with the limits of a booting sandbox and reads each limit back. On
// an error it leaves nothing behind. If the leaf exists, the error wraps os.ErrExist and the leaf
// is unchanged.
func (t *Tree) Create(ctx context.Context, id string, g Boot) (_ *Leaf, err error) {
	if err := job.CheckID(id); err != nil {
		return nil, fmt.Errorf("create leaf: %w", err)
	}
	if err := g.check(); err != nil {
		return nil, fmt.Errorf("create leaf %s: %w", id, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("create leaf %s: %w", id, context.Cause(ctx))
	}
	t.mu.Lock()
	d, err := t.jobs.mkdir(id)
	if err == nil {
		t.live[id] = true
	}
	t.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("create leaf %s: %w", id, err)
	}
	l := &Leaf{ID: id, tree: t, d: d, boot: g}
	if err := l.setUp(); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWait)
		defer cancel()
		return nil, fmt.Errorf("create leaf %s: %w", id, errors.Join(err, l.Remove(ctx)))
	}
	return l, nil
}

func (l *Leaf) setUp() error {
	pids := l.boot.PIDsMax()
	r := &cgroups.Resources{PidsLimit: &pids, Devices: denyAll, Unified: map[string]string{"memory.oom.group": "1"}}
	if l.d.has("memory.zswap.max") {
		r.Unified["memory.zswap.max"] = "0"
	}
	want := l.bootLimits()
	want.into(r)
	if err := l.set(r, want); err != nil {
		return err
	}
	l.openPeak()
	return l.Baseline()
}

func (l *Leaf) bootLimits() size {
	s := size{memory: pageFloor(l.boot.Memory), quota: quota(float64(job.GuestCPUs(l.boot.CPU))), weight: weight}
	if l.boot.Background {
		s.weight = backgroundWeight
	}
	return s
}

// size is the part of the limits that changes during a leaf's life.
type size struct {
	memory int64 // bytes, a multiple of the page size
	quota  int64 // microseconds in each cpuPeriod
	weight uint64
}

func (s size) into(r *cgroups.Resources) {
	r.Memory, r.MemorySwap = s.memory, s.memory // memory and swap together: no swap
	r.CpuQuota, r.CpuPeriod, r.CpuWeight = s.quota, cpuPeriod, s.weight
}

// set writes r, then reads back every limit of the leaf, including s and limits not written this
// time.
func (l *Leaf) set(r *cgroups.Resources, s size) error {
	l.now = s
	m, err := fs2.NewManager(&cgroups.Cgroup{}, l.d.path)
	if err == nil {
		err = m.Set(r)
	}
	if err != nil {
		l.forget()
		if errors.Is(err, unix.EPERM) && len(r.Devices) > 0 {
			err = fmt.Errorf("%w (before Linux 6.9 a device filter needs CAP_NET_ADMIN)", err)
		}
		return fmt.Errorf("set limits: %w", err)
	}
	return l.verify(s)
}

// Apply hands the leaf over to a job. It writes the job's limits plus the sentry's [Allowance] and
// reads back every limit, including those set at boot. After an error the job must not start. The
// job's memory and tasks must not exceed the boot size, and its cores must have the same guest
// size.
func (l *Leaf) Apply(lim job.Limits) error {
	g := BootOf(lim)
	err := g.check()
	switch {
	case err != nil:
	case g.Memory > l.boot.Memory || g.Tasks > l.boot.Tasks:
		err = fmt.Errorf("the job asks for %d bytes and %d tasks of a sandbox booted with %d and %d",
			g.Memory, g.Tasks, l.boot.Memory, l.boot.Tasks)
	case job.GuestCPUs(g.CPU) != job.GuestCPUs(l.boot.CPU):
		err = fmt.Errorf("the job asks for %v cores of a sandbox booted for %v", g.CPU, l.boot.CPU)
	}
	if err == nil {
		s := size{memory: pageFloor(g.Memory + Allowance), quota: quota(g.CPU), weight: weight}
		r := &cgroups.Resources{SkipDevices: true}
		s.into(r)
		err = l.set(r, s)
	}
	if err != nil {
		return fmt.Errorf("apply limits to leaf %s: %w", l.ID, err)
	}
	return nil
}

// Promote gives a background sandbox the CPU weight of a job.
func (l *Leaf) Promote() error {
	if l.now.weight == weight {
		return nil
	}
	s := l.now
	s.weight = weight
	if err := l.set(&cgroups.Resources{SkipDevices: true, CpuWeight: weight}, s); err != nil {
		return fmt.Errorf("raise the CPU weight of leaf %s: %w", l.ID, err)
	}
	return nil
}

// Lift restores the boot value of cpu.max, so that the guest can collect its output on all of its
// CPUs. Memory is unchanged.
func (l *Leaf) Lift() error {
	s := size{memory: l.now.memory, quota: l.bootLimits().quota, weight: l.now.weight}
	if err := l.set(&cgroups.Resources{SkipDevices: true, CpuQuota: s.quota, CpuPeriod: cpuPeriod}, s); err != nil {
		return fmt.Errorf("lift cpu limit of leaf %s: %w", l.ID, err)
	}
	return nil
}

// CgroupsPath returns the leaf's path for the bundle, relative to the root of the cgroup namespace.
func (l *Leaf) CgroupsPath() string { return "/" + jobsDir + "/" + l.ID }

// Dir returns the leaf's directory, for clone3(2) with CLONE_INTO_CGROUP. Remove closes it.
func (l *Leaf) Dir() *os.File { return l.d.f }

// Procs lists the processes in the leaf and in cgroups below it.
func (l *Leaf) Procs() ([]int, error) { return allProcs(l.d) }

func allProcs(d *dir) ([]int, error) {
	pids, err := d.procs()
	if err != nil {
		return nil, err
	}
	names, err := d.children()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		c, err := d.sub(name)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		below, err := allProcs(c)
		if err = errors.Join(err, c.close()); err != nil && !gone(err) {
			return nil, err
		}
		pids = append(pids, below...)
	}
	return slices.Clip(pids), nil
}

// Kill sends SIGKILL to every process in the leaf through cgroup.kill: no pid is involved and no
// fork escapes. Kill does not wait.
func (l *Leaf) Kill() error { return kill(l.d) }

// Wait returns once the leaf has no process, or with ctx's cause.
func (l *Leaf) Wait(ctx context.Context) error { return waitEmpty(ctx, l.d) }

// Enforced fills in Memory, Swap, CPU, PIDs and Devices from the last read-back.
func (l *Leaf) Enforced(e *job.Enforced) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Memory, e.Swap, e.CPU, e.PIDs, e.Devices = l.seen.Memory, l.seen.Swap, l.seen.CPU, l.seen.PIDs, l.seen.Devices
}

func (l *Leaf) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = job.Enforced{}
}

// Remove kills every process in the leaf, waits for their exit, and removes the leaf with every
// cgroup below it. The wait is at most killWait if ctx has no deadline. Remove is idempotent; after
// an error it may be called again.
func (l *Leaf) Remove(ctx context.Context) error {
	l.mu.Lock()
	removed := l.removed
	l.mu.Unlock()
	if removed {
		return nil
	}
	if err := removeChild(ctx, l.tree.jobs, l.ID); err != nil {
		return fmt.Errorf("remove leaf %s: %w", l.ID, err)
	}
	l.tree.mu.Lock()
	delete(l.tree.live, l.ID)
	l.tree.mu.Unlock()

	l.mu.Lock()
	defer l.mu.Unlock()
	l.removed = true
	l.seen = job.Enforced{}
	err := l.d.close()
	if l.peak != nil {
		err = errors.Join(err, l.peak.Close())
		l.peak = nil
	}
	return err
}

// Memory returns the leaf's current memory in bytes.
func (l *Leaf) Memory() (int64, error) {
	text, err := l.d.read("memory.current")
	if err != nil {
		return 0, fmt.Errorf("read memory of leaf %s: %w", l.ID, err)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read memory of leaf %s: %w", l.ID, err)
	}
	return n, nil
}

// Usage is the leaf's consumption since its Baseline.
type Usage struct {
	CPU time.Duration
	// Peak is the highest memory of the leaf in bytes, including the sentry. Zero means that the
	// kernel does not report a peak (before 5.19).
	Peak uint64
	// PeakSinceBaseline reports whether Peak counts from the baseline: the kernel could reset the
	// peak (6.12), or the peak rose since. Otherwise the boot's peak was higher, and Peak is only
	// an upper bound.
	PeakSinceBaseline bool
}
