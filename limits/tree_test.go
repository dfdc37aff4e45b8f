package limits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/tests/need"
)

var treeTests = map[string]func(*testing.T, *Tree){
	"view":                   testView,
	"boot limits":            testBootLimits,
	"hand-over":              testHandOver,
	"hand-over refuses":      testHandOverRefuses,
	"read-back":              testReadBack,
	"create cleans up":       testCreateCleansUp,
	"create refuses":         testCreateRefuses,
	"oom kills the group":    testOOM,
	"no swap":                testNoSwap,
	"cpu quota":              testCPU,
	"pids":                   testPIDs,
	"devices":                testDevices,
	"usage":                  testUsage,
	"wait":                   testWait,
	"remove":                 testRemove,
	"sweep":                  testSweep,
	"many leaves at a time":  testMany,
	"stage 2 takes over":     testStage2,
	"the lock is not handed": testLockStays,
}

var tiny = Boot{Memory: 64 << 20, CPU: 0.2, Tasks: 10}

func limitsOf(g Boot) job.Limits {
	n := job.Rlimit{Soft: uint64(g.Tasks), Hard: uint64(g.Tasks)}
	return job.Limits{Memory: g.Memory, CPU: g.CPU, PIDs: g.Tasks, NProc: n}
}

func testTree(t *testing.T) {
	tree, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range treeTests {
		t.Run(name, func(t *testing.T) { f(t, tree) })
	}
	if left, err := tree.List(); err != nil || len(left) > 0 {
		t.Errorf("leaves left: %v, %v", left, err)
	}
}

var leafNumber int

func newLeaf(t *testing.T, tree *Tree, g Boot) *Leaf {
	t.Helper()
	leafNumber++
	l, err := tree.Create(t.Context(), fmt.Sprintf("leaf-%d", leafNumber), g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func start(t *testing.T, d *dir, helper string) *exec.Cmd {
	t.Helper()
	cmd, err := startIn(d, helper)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	return cmd
}

func expect(t *testing.T, l *Leaf, want map[string]string) {
	t.Helper()
	for file, v := range want {
		if got, err := l.d.read(file); got != v || err != nil {
			t.Errorf("%s is %q, %v; want %q", file, got, err, v)
		}
	}
}

func testView(t *testing.T, tree *Tree) {
	own, err := ownCgroup()
	if own != "/daemon" || err != nil {
		t.Errorf("own cgroup %q, %v", own, err)
	}
	names, err := tree.root.children()
	slices.Sort(names)
	if !slices.Equal(names, []string{"daemon", "jobs"}) || err != nil {
		t.Errorf("the view shows %v, %v", names, err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if len(mounts) != 1 || err != nil {
		t.Errorf("cgroup mounts in view: %v, %v", mounts, err)
	}
	for _, m := range mounts {
		if strings.Contains(m.Optional, "shared") || strings.Contains(m.Optional, "master") {
			t.Errorf("%s propagates: %s", m.Mountpoint, m.Optional)
		}
	}
	// The namespace is a boundary: what is above has no name here, and the subtree's own limits
	// (where there is nsdelegate) no writer.
	if b, err := os.ReadFile("/proc/1/cgroup"); err != nil || !strings.HasPrefix(string(b), "0::/..") {
		t.Errorf("process 1 is in %q, %v: want it outside the namespace", b, err)
	}
	if err := checkView(tree.jobs, tree.lock); err == nil {
		t.Error("checkView takes another cgroup for the subtree")
	}
}

func testBootLimits(t *testing.T, tree *Tree) {
	g := Boot{Memory: 512<<20 + 100, CPU: 2.5, Tasks: 100}
	l := newLeaf(t, tree, g)
	expect(t, l, map[string]string{
		"memory.max":       strconv.FormatInt(pageFloor(g.Memory), 10),
		"memory.swap.max":  "0",
		"memory.oom.group": "1",
		"cpu.max":          "300000 100000",
		"cpu.weight":       "100",
		"pids.max":         strconv.FormatInt(g.PIDsMax(), 10),
	})
	if l.d.has("memory.zswap.max") {
		expect(t, l, map[string]string{"memory.zswap.max": "0"})
	}
	if got := l.CgroupsPath(); got != "/jobs/"+l.ID {
		t.Errorf("CgroupsPath = %q", got)
	}
	allEnforced(t, l, true)
	if controllers, err := l.d.words("cgroup.controllers"); err != nil || !slices.Contains(controllers, "cpuset") {
		t.Errorf("controllers of the leaf: %v, %v; runsc needs cpuset", controllers, err)
	}
}

func allEnforced(t *testing.T, l *Leaf, want bool) {
	t.Helper()
	e := job.Enforced{Runtime: "runsc"}
	l.Enforced(&e)
	if e != (job.Enforced{Runtime: "runsc", Memory: want, Swap: want, CPU: want, PIDs: want, Devices: want}) {
		t.Errorf("Enforced = %+v, want %t", e, want)
	}
}

func testHandOver(t *testing.T, tree *Tree) {
	g := Boot{Memory: 128 << 20, CPU: 0.5, Tasks: 20}
	l := newLeaf(t, tree, g)
	if err := l.Apply(limitsOf(g)); err != nil {
		t.Fatal(err)
	}
	limit := strconv.FormatInt(g.Memory+Allowance, 10)
	expect(t, l, map[string]string{"memory.max": limit, "memory.swap.max": "0", "cpu.max": "50000 100000"})
	allEnforced(t, l, true)
	if err := l.Lift(); err != nil {
		t.Fatal(err)
	}
	expect(t, l, map[string]string{"memory.max": limit, "memory.swap.max": "0", "cpu.max": "200000 100000"})
	smaller := limitsOf(Boot{Memory: 64 << 20, CPU: 0.1, Tasks: 5})
	if err := l.Apply(smaller); err != nil {
		t.Fatal(err)
	}
	expect(t, l, map[string]string{"memory.max": strconv.FormatInt(64<<20+Allowance, 10), "cpu.max": "10000 100000"})

	g.Background = true
	l = newLeaf(t, tree, g)
	expect(t, l, map[string]string{"cpu.weight": "10"})
	if err := l.Promote(); err != nil {
		t.Fatal(err)
	}
	expect(t, l, map[string]string{"cpu.weight": "100"})
	l = newLeaf(t, tree, g)
	if n, err := l.Memory(); err != nil || n < 0 {
		t.Errorf("Memory = %d, %v", n, err)
	}
	if err := l.Apply(limitsOf(g)); err != nil {
		t.Fatal(err)
	}
	expect(t, l, map[string]string{"cpu.weight": "100"})
	if err := l.Lift(); err != nil {
		t.Fatal(err)
	}
	expect(t, l, map[string]string{"cpu.weight": "100"})
}

func testHandOverRefuses(t *testing.T, tree *Tree) {
	g := Boot{Memory: 128 << 20, CPU: 1, Tasks: 20}
	l := newLeaf(t, tree, g)
	before, err := l.d.read("memory.max")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Boot){
		"more memory":          func(b *Boot) { b.Memory++ },
		"more tasks":           func(b *Boot) { b.Tasks++ },
		"cpus the guest lacks": func(b *Boot) { b.CPU = 2.1 },
		"no memory":            func(b *Boot) { b.Memory = 0 },
		"no cpu":               func(b *Boot) { b.CPU = 0 },
	} {
		b := g
		change(&b)
		if err := l.Apply(limitsOf(b)); err == nil {
			t.Errorf("%s: applied", name)
		}
	}
	expect(t, l, map[string]string{"memory.max": before})
}

// What is not in force must be seen by the read-back: each file is changed behind the leaf's back,
// as a second writer would.
func testReadBack(t *testing.T, tree *Tree) {
	files := map[string]string{
		"memory.max": "max", "memory.swap.max": "max", "memory.zswap.max": "max", "memory.oom.group": "0", "cpu.max": "max",
		"cpu.weight": "7", "pids.max": "max",
	}
	for file, value := range files {
		l := newLeaf(t, tree, tiny)
		if !l.d.has(file) && file == "memory.zswap.max" {
			continue
		}
		if err := l.verify(l.bootLimits()); err != nil {
			t.Fatal(err)
		}
		if err := l.d.write(file, value); err != nil {
			t.Fatal(err)
		}
		var wrong *ReadbackError
		if err := l.verify(l.bootLimits()); !errors.As(err, &wrong) || !strings.HasSuffix(wrong.File, file) {
			t.Errorf("%s: verify = %v, want a ReadbackError", file, err)
		}
		var e job.Enforced
		l.Enforced(&e)
		if e.Memory && e.Swap && e.CPU && e.PIDs {
			t.Errorf("%s: Enforced still says %+v", file, e)
		}
	}
	// What the hand-over does not write again, it reads again all the same.
	l := newLeaf(t, tree, tiny)
	if err := l.d.write("memory.max", "33554432"); err != nil {
		t.Fatal(err)
	}
	var wrong *ReadbackError
	if err := l.Lift(); !errors.As(err, &wrong) {
		t.Errorf("memory.max: Lift = %v, want a ReadbackError", err)
	}
	for _, file := range []string{"pids.max", "memory.oom.group"} {
		l := newLeaf(t, tree, tiny)
		if err := l.d.write(file, files[file]); err != nil {
			t.Fatal(err)
		}
		var wrong *ReadbackError
		if err := l.Apply(limitsOf(tiny)); !errors.As(err, &wrong) {
			t.Errorf("%s: Apply = %v, want a ReadbackError", file, err)
		}
		if err := l.Lift(); !errors.As(err, &wrong) {
			t.Errorf("%s: Lift = %v, want a ReadbackError", file, err)
		}
	}
	l = newLeaf(t, tree, tiny)
	detach(t, l.d)
	var e job.Enforced
	if err := l.Apply(limitsOf(tiny)); err == nil {
		t.Error("Apply does not miss the device filter")
	}
	if l.Enforced(&e); e.Devices {
		t.Error("Enforced says Devices without a filter")
	}
	l = newLeaf(t, tree, tiny)
	attach(t, l.d, 1, unix.BPF_F_ALLOW_MULTI)
	if err := l.Apply(limitsOf(tiny)); err == nil {
		t.Error("Apply does not see a second device filter")
	}
}

func detach(t *testing.T, d *dir) {
	t.Helper()
	r, err := link.QueryPrograms(link.QueryOptions{Target: int(d.f.Fd()), Attach: ebpf.AttachCGroupDevice})
	if err != nil || len(r.Programs) != 1 {
		t.Fatalf("programs %v, %v", r, err)
	}
	p, err := ebpf.NewProgramFromID(r.Programs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := link.RawDetachProgram(link.RawDetachProgramOptions{Target: int(d.f.Fd()), Program: p, Attach: ebpf.AttachCGroupDevice}); err != nil {
		t.Fatal(err)
	}
}

// attach attaches a device filter that answers verdict to everything; it is detached at the end of
// the test.
func attach(t *testing.T, d *dir, verdict int32, flags uint32) {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupDevice, License: "Apache-2.0", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	target := int(d.f.Fd())
	if err := link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: target, Program: p, Attach: ebpf.AttachCGroupDevice, Flags: flags,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = link.RawDetachProgram(link.RawDetachProgramOptions{Target: target, Program: p, Attach: ebpf.AttachCGroupDevice})
		_ = p.Close()
	})
}

// A program attached above without a flag forbids any other below: the last step of Create fails,
// and nothing must be left of it.
func testCreateCleansUp(t *testing.T, tree *Tree) {
	attach(t, tree.jobs, 1, 0)
	l, err := tree.Create(t.Context(), "broken", tiny)
	if err == nil {
		t.Errorf("created %s without a device filter", l.ID)
	}
	if left, err := tree.List(); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if len(tree.live) > 0 {
		t.Errorf("still counted as live: %v", tree.live)
	}
}

func testCreateRefuses(t *testing.T, tree *Tree) {
	for _, id := range []string{"", ".", "..", "a/b", "../x", "/x", ".x", "x\x00", "cgroup.procs", strings.Repeat("a", 65)} {
		if _, err := tree.Create(t.Context(), id, tiny); err == nil {
			t.Errorf("created %q", id)
		}
	}
	if _, err := tree.Create(t.Context(), "x", Boot{Memory: -1, CPU: 1, Tasks: 1}); err == nil {
		t.Error("created without a memory limit")
	}
	l := newLeaf(t, tree, tiny)
	p := start(t, l.d, "sleep")
	if _, err := tree.Create(t.Context(), l.ID, tiny); !errors.Is(err, os.ErrExist) {
		t.Errorf("Create = %v, want ErrExist", err)
	}
	if !alive(p.Process.Pid) {
		t.Error("the process in the existing leaf was killed")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("cause")
	cancel(cause)
	if _, err := tree.Create(ctx, "late", tiny); !errors.Is(err, cause) {
		t.Errorf("Create = %v", err)
	}
}

func testOOM(t *testing.T, tree *Tree) {
	l := newLeaf(t, tree, tiny)
	beside := start(t, l.d, "sleep")
	out, err := run(t, l.d, "hog")
	if err == nil || strings.Contains(out, "survived") {
		t.Errorf("128 MiB in a leaf of 64: %q, %v", out, err)
	}
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if alive(beside.Process.Pid) {
		t.Error("the process beside the one that was too big is alive: no group kill")
	}
	if e, err := l.Events(); err != nil || e.OOM == 0 || e.OOMKill < 2 || e.PIDsMax != 0 {
		t.Errorf("Events = %+v, %v", e, err)
	}
	if reached, err := l.MemoryReached(); !reached || err != nil {
		t.Errorf("MemoryReached = %v, %v", reached, err)
	}
	if err := l.Baseline(); err != nil {
		t.Fatal(err)
	}
	if reached, err := l.MemoryReached(); reached || err != nil {
		t.Errorf("MemoryReached after the baseline = %v, %v", reached, err)
	}
	roomy := newLeaf(t, tree, Boot{Memory: 256 << 20, CPU: 1, Tasks: 10})
	if out, err := run(t, roomy.d, "hog"); out != "survived" || err != nil {
		t.Errorf("128 MiB in a leaf of 256: %q, %v", out, err)
	}
	if e, err := roomy.Events(); e != (Events{}) || err != nil {
		t.Errorf("Events = %+v, %v", e, err)
	}
	if reached, err := roomy.MemoryReached(); reached || err != nil {
		t.Errorf("MemoryReached with room = %v, %v", reached, err)
	}
}

// With swap on, what does not fit must still be an oom, and not a byte may be swapped.
func testNoSwap(t *testing.T, tree *Tree) {
	need.That(t, "swap", need.Promised("swap")) // turns swap on for the whole machine: only where that is asked for
	swapOn(t, 192<<20)
	l := newLeaf(t, tree, tiny)
	out, err := run(t, l.d, "hog")
	if err == nil {
		t.Errorf("128 MiB in a leaf of 64 with swap on: %q", out)
	}
	if e, err := l.Events(); err != nil || e.OOMKill == 0 {
		t.Errorf("Events = %+v, %v", e, err)
	}
	free := newLeaf(t, tree, tiny) // the same with swap allowed survives: the test bites
	if err := free.d.write("memory.swap.max", "max"); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, free.d, "hog"); out != "survived" || err != nil {
		t.Errorf("128 MiB in a leaf of 64 that may swap: %q, %v", out, err)
	}
}

func swapOn(t *testing.T, size int) {
	t.Helper()
	path := os.Getenv("HOME") + "/tsubo-test.swap" // not on tmpfs
	b := make([]byte, size)
	page := os.Getpagesize()
	*(*[3]uint32)(unsafe.Pointer(&b[1024])) = [3]uint32{1, uint32(size/page - 1), 0}
	copy(b[page-10:], "SWAPSPACE2")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SWAPON, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
		t.Fatalf("swapon %s: %v", path, errno)
	}
	t.Cleanup(func() {
		if _, _, errno := unix.Syscall(unix.SYS_SWAPOFF, uintptr(unsafe.Pointer(p)), 0, 0); errno != 0 {
			t.Errorf("swapoff: %v", errno)
		}
		_ = os.Remove(path)
	})
}

// A busy loop gets its quota of a fifth of each period. The kernel settles an overrun in later
// periods, so the bound is twice that; without a limit it would be five times.
func testCPU(t *testing.T, tree *Tree) {
	l := newLeaf(t, tree, tiny)
	if err := l.Apply(limitsOf(tiny)); err != nil {
		t.Fatal(err)
	}
	start(t, l.d, "spin")
	if err := l.Baseline(); err != nil {
		t.Fatal(err)
	}
	base, err := l.d.keyed("cpu.stat", "nr_periods", "nr_throttled")
	if err != nil {
		t.Fatal(err)
	}
	const periods = 15
	for {
		u, err := l.Usage()
		if err != nil {
			t.Fatal(err)
		}
		now, err := l.d.keyed("cpu.stat", "nr_periods", "nr_throttled")
		if err != nil {
			t.Fatal(err)
		}
		n := now[0] - base[0]
		if u.CPU > time.Duration(n+2)*40*time.Millisecond && u.CPU > periods*40*time.Millisecond {
			t.Fatalf("used %v in %d periods of 20 ms", u.CPU, n)
		}
		if n < periods {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if u.CPU == 0 || now[1] == base[1] {
			t.Errorf("a busy loop used %v and was throttled %d times", u.CPU, now[1]-base[1])
		}
		return
	}
}

func testPIDs(t *testing.T, tree *Tree) {
	l := newLeaf(t, tree, Boot{Memory: 1 << 30, CPU: 2, Tasks: 1})
	out, err := run(t, l.d, "forks")
	if err != nil || !strings.Contains(out, unix.EAGAIN.Error()) {
		t.Errorf("forks: %q, %v; want it refused", out, err)
	}
	if e, err := l.Events(); err != nil || e.PIDsMax == 0 || e.OOMKill != 0 {
		t.Errorf("Events = %+v, %v", e, err)
	}
	v, err := l.d.read("pids.current")
	if n, errN := strconv.ParseInt(v, 10, 64); err != nil || errN != nil || n > l.boot.PIDsMax() {
		t.Errorf("pids.current = %s, %v, more than %d", v, err, l.boot.PIDsMax())
	}
}

func testDevices(t *testing.T, tree *Tree) {
	if out, err := run(t, nil, "device"); out != "open false mknod false" || err != nil {
		t.Fatalf("outside a leaf: %q, %v", out, err)
	}
	l := newLeaf(t, tree, tiny)
	if out, err := run(t, l.d, "device"); out != "open true mknod true" || err != nil {
		t.Errorf("refused in the leaf: %q, %v", out, err)
	}
}

func testUsage(t *testing.T, tree *Tree) {
	l := newLeaf(t, tree, Boot{Memory: 256 << 20, CPU: 2, Tasks: 10})
	if out, err := run(t, l.d, "hog"); err != nil {
		t.Fatal(out, err)
	}
	u, err := l.Usage()
	if err != nil || u.CPU == 0 || u.Peak < 128<<20 || !u.PeakSinceBaseline {
		t.Fatalf("Usage = %+v, %v", u, err)
	}
	if err := l.Baseline(); err != nil {
		t.Fatal(err)
	}
	u, err = l.Usage()
	if err != nil || u.CPU != 0 {
		t.Errorf("Usage after the baseline = %+v, %v", u, err)
	}
	if kernelAtLeast(Probe("").Kernel, 6, 12) {
		if u.Peak > 64<<20 || !u.PeakSinceBaseline {
			t.Errorf("Usage after the baseline = %+v: the peak was not reset", u)
		}
	} else if u.PeakSinceBaseline {
		t.Errorf("Usage after the baseline = %+v: the peak cannot be new", u)
	}
}

func testWait(t *testing.T, tree *Tree) {
	l := newLeaf(t, tree, tiny)
	if err := l.Wait(t.Context()); err != nil {
		t.Errorf("Wait for an empty leaf = %v", err)
	}
	p := start(t, l.d, "sleep")
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("cause")
	result := make(chan error)
	go func() { result <- l.Wait(ctx) }()
	cancel(cause)
	if err := <-result; !errors.Is(err, cause) {
		t.Errorf("cancelled Wait = %v", err)
	}
	if pids, err := l.Procs(); err != nil || !slices.Equal(pids, []int{p.Process.Pid}) {
		t.Errorf("Procs = %v, %v", pids, err)
	}
	go func() { result <- l.Wait(t.Context()) }()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("Wait = %v", err)
	}
	start(t, l.d, "sleep")
	go func() { result <- l.Wait(t.Context()) }()
	if err := l.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-result; err != nil {
		t.Errorf("Wait = %v", err)
	}
}

func testRemove(t *testing.T, tree *Tree) {
	l := newLeaf(t, tree, tiny)
	a, b := mustMkdir(t, l.d, "a"), mustMkdir(t, l.d, "b")
	c := mustMkdir(t, a, "c")
	var pids []int
	for _, d := range []*dir{l.d, b, c} {
		pids = append(pids, start(t, d, "sleep").Process.Pid)
	}
	got, err := l.Procs()
	slices.Sort(got)
	if slices.Sort(pids); err != nil || !slices.Equal(got, pids) {
		t.Errorf("Procs = %v, %v, want %v", got, err, pids)
	}
	for range 2 {
		if err := l.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %d is alive", pid)
		}
	}
	if left, err := tree.List(); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	allEnforced(t, l, false)
	if _, err := l.Events(); err == nil {
		t.Error("Events of a removed leaf")
	}
	if err := l.Apply(limitsOf(tiny)); err == nil {
		t.Error("Apply to a removed leaf")
	}
	gone := newLeaf(t, tree, tiny) // removed by somebody else
	if err := tree.jobs.rmdir(gone.ID); err != nil {
		t.Fatal(err)
	}
	if err := gone.Remove(t.Context()); err != nil {
		t.Errorf("Remove = %v", err)
	}
}

func testSweep(t *testing.T, tree *Tree) {
	live := newLeaf(t, tree, tiny)
	mine := start(t, live.d, "sleep")
	old := mustMkdir(t, tree.jobs, "old")
	theirs := start(t, mustMkdir(t, old, "nested"), "sleep")
	if n, err := tree.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	if alive(theirs.Process.Pid) || !alive(mine.Process.Pid) {
		t.Error("Sweep must kill the leftover and spare the live leaf")
	}
	if names, err := tree.List(); err != nil || !slices.Equal(names, []string{live.ID}) {
		t.Errorf("List = %v, %v", names, err)
	}
}

func testMany(t *testing.T, tree *Tree) {
	errs := make(chan error)
	for i := range 8 {
		go func() {
			var err error
			for j := range 5 {
				l, errCreate := tree.Create(t.Context(), fmt.Sprintf("many-%d-%d", i, j), tiny)
				if errCreate != nil {
					err = errors.Join(err, errCreate)
					continue
				}
				_, errStart := startIn(l.d, "sleep")
				err = errors.Join(err, errStart, l.Apply(limitsOf(tiny)), l.Kill(), l.Wait(t.Context()), l.Remove(t.Context()))
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func testStage2(t *testing.T, _ *Tree) {
	if want := os.Getenv("TSUBO_TEST_PID"); strconv.Itoa(os.Getpid()) != want {
		t.Errorf("pid %d, was %s", os.Getpid(), want)
	}
	fd, err := strconv.Atoi(os.Getenv("TSUBO_TEST_KEEP"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		t.Errorf("the kept file: %v", err)
	}
	if _, err := Enter(t.Context(), "/again"); err == nil || InStage2() {
		t.Errorf("Enter in stage 2 = %v", err)
	}
}

// A runsc that outlives a crashed daemon must not hold its lock.
func testLockStays(t *testing.T, tree *Tree) {
	if fl, err := unix.FcntlInt(tree.lock.Fd(), unix.F_GETFD, 0); err != nil || fl&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", fl, err)
	}
}

func BenchmarkLeaf(b *testing.B) {
	tree, err := Open()
	if err != nil {
		b.Skip("runs in stage 2 only")
	}
	for b.Loop() {
		l, err := tree.Create(b.Context(), "bench", tiny)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Remove(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
