package runsc_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/bundle"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/seccomp"
	"github.com/tsubo-run/tsubo/tests/need"
)

// real returns the real runsc, $TSUBO_RUNSC or the first on PATH, with its own root, and the sentry
// $TSUBO_SENTRY if set.
func real(t testing.TB) *runsc.Runsc {
	t.Helper()
	path := need.Runsc(t)
	r, err := runsc.Find(path)
	if err != nil {
		t.Fatal(err)
	}
	if sentry := os.Getenv("TSUBO_SENTRY"); sentry != "" {
		if err := r.UseSentry(t.Context(), sentry); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.UseRoot(filepath.Join(shortDir(t), "r")); err != nil {
		t.Fatal(err)
	}
	r.Flags.IgnoreCgroups = true
	if err := runsc.BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	return r
}

// shortDir returns a temporary directory whose name leaves room for a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tsubo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// trees creates a root and a guest tree of the given kind. The root contains only mount points, the
// guest tree the test's own init.
func trees(t testing.TB, kind string) (root, guest bundle.Tree) {
	t.Helper()
	dir := shortDir(t)
	root = bundle.Tree{Kind: kind, Path: filepath.Join(dir, "root")}
	guest = bundle.Tree{Kind: kind, Path: filepath.Join(dir, "guest")}
	for _, place := range []string{"proc", "sys", "dev", "tmp", "output", "code", "input", ".tsubo", "var"} {
		if err := os.MkdirAll(filepath.Join(root.Path, place), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root.Path, "var"), 0o777); err != nil { // writable but for the mount
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(guest.Path, "tsubo-init"), "./testdata/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build init: %v\n%s", err, out)
	}
	if kind == bundle.EROFS {
		for _, tree := range []*bundle.Tree{&root, &guest} {
			mkfs, err := exec.LookPath("mkfs.erofs")
			need.That(t, "erofs", err == nil)
			if out, err := exec.Command(mkfs, "-Enoinline_data", tree.Path+".erofs",
				tree.Path).CombinedOutput(); err != nil {
				t.Fatalf("mkfs.erofs: %v\n%s", err, out)
			}
			tree.Path += ".erofs"
		}
	}
	return root, guest
}

// box is a booted sandbox.
type box struct {
	id, bundle string
	pid        int
	conn       *net.UnixConn
	in         *bufio.Scanner
}

var boxes int

// prepare writes a bundle and returns the options to boot it, with the far end of its control
// socket.
func prepare(t testing.TB, root, guest bundle.Tree) (runsc.RunOpts, *net.UnixConn) {
	t.Helper()
	boxes++
	dir := shortDir(t)
	spec := bundle.Config(bundle.Params{
		Root: root, Guest: guest, Seccomp: seccomp.Profile(),
		Limits: job.Limits{
			PIDs: 64, NProc: job.Rlimit{Soft: 64, Hard: 64}, NoFile: job.Rlimit{Soft: 256, Hard: 256}, FSize: 1 << 20,
			Tmp: 4 * job.MiB, Output: 8 * job.MiB,
		},
	})
	if err := bundle.Write(dir, spec); err != nil {
		t.Fatal(err)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	conn, err := net.FileConn(near)
	if err != nil {
		t.Fatal(err)
	}
	_ = near.Close()
	t.Cleanup(func() { _ = conn.Close(); _ = far.Close() })
	return runsc.RunOpts{
		ID:     "test-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(boxes),
		Bundle: dir,
		Stdin:  far,
	}, conn.(*net.UnixConn)
}

func boot(t testing.TB, r *runsc.Runsc, root, guest bundle.Tree) *box {
	t.Helper()
	o, conn := prepare(t, root, guest)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pid, err := r.Run(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	_ = o.Stdin.Close()
	b := &box{id: o.ID, bundle: o.Bundle, pid: pid, conn: conn, in: bufio.NewScanner(conn)}
	t.Cleanup(func() {
		if err := errors.Join(r.KillProcesses(context.Background(), b.bundle, b.processes(t, r)...),
			r.RemoveState(b.id)); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *box) processes(t testing.TB, r *runsc.Runsc) []int {
	t.Helper()
	pids, err := r.Processes(b.bundle)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

// ask sends a line to init and returns the answer.
func (b *box) ask(t testing.TB, format string, args ...any) string {
	t.Helper()
	if err := b.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(b.conn, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
	if !b.in.Scan() {
		t.Fatalf("init does not answer: %v", b.in.Err())
	}
	return b.in.Text()
}

// empty fails the test if a directory has entries.
func empty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("left in %s: %s", dir, e.Name())
	}
}

// dead reports whether no process has this pid, not even a zombie.
func dead(pid int) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// zombies lists the children of this process that have exited and are not reaped.
func zombies(t testing.TB) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, file := range stats {
		data, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(data), fmt.Sprintf(") Z %d ", os.Getpid())) {
			out = append(out, string(data))
		}
	}
	return out
}

// mountsBelow counts the mounts of this process at or below dir.
func mountsBelow(t testing.TB, dir string) int {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(data), " "+dir)
}

// nullOwner returns the owner of the host's /dev/null. It is root, unless /dev/null was passed to
// runsc as stdio, which chowns it to nobody.
func nullOwner(t *testing.T) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat("/dev/null", &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

func TestSandbox(t *testing.T) {
	r := real(t)
	for _, kind := range []string{bundle.EROFS, bundle.Directory} {
		t.Run(kind, func(t *testing.T) {
			root, guest := trees(t, kind)
			if err := unix.Chown("/dev/null", 0, 0); err != nil {
				t.Fatal(err)
			}
			owner := nullOwner(t)
			b := boot(t, r, root, guest)
			if now := nullOwner(t); now != owner {
				t.Errorf("/dev/null of the host belonged to uid %d and now to %d", owner, now)
			}
			const readOnly = "read-only file system"
			for _, test := range []struct{ ask, want string }{
				{"hello", "pid 1 uid 0 host sandbox env [GOMAXPROCS=1 HOME=/]"},
				{"ptrace", "operation not permitted"}, // the filter is active
				{"create /tmp/x", "<nil>"},
				{"create /output/x", "<nil>"},
				{"create /code/x", "<nil>"},
				{"create /input/x", "<nil>"},
				{"create /var/x", "open /var/x: " + readOnly},
				{"create /x", "open /x: " + readOnly},
				{"create /.tsubo/x", "open /.tsubo/x: " + readOnly},
				{"open /.tsubo/tsubo-init", "open /.tsubo/tsubo-init: " + readOnly},
				{"create /sys/x", "open /sys/x: " + readOnly},
				{"open /dev/null", "<nil>"},
				{"size /tmp", "4194304 <nil>"},
				{"size /output", "8388608 <nil>"},
				{"size /code", strconv.Itoa(bundle.CodeSize) + " <nil>"},
				{"size /input", strconv.Itoa(bundle.InputSize) + " <nil>"},
				{"read /proc/self/cmdline", `"/.tsubo/tsubo-init\x00"`},
			} {
				if got := b.ask(t, "%s", test.ask); got != test.want {
					t.Errorf("%s: %q, want %q", test.ask, got, test.want)
				}
			}

			gofer, err := r.GoferPID(b.id)
			if err != nil {
				t.Fatal(err)
			}
			want := []int{b.pid}
			if kind == bundle.Directory {
				want = append(want, gofer)
			} else if gofer != 0 {
				t.Errorf("an EROFS root has a gofer, pid %d", gofer)
			}
			slices.Sort(want)
			if pids := b.processes(t, r); !slices.Equal(pids, want) {
				t.Errorf("processes %v, want %v", pids, want)
			}
			if ids, err := r.Leftovers(); err != nil || !slices.Equal(ids, []string{b.id}) {
				t.Errorf("leftovers %q, %v", ids, err)
			}
			// Compare the file, not its name, which belongs to the mount namespace of the exec.
			exe, err := os.Stat(fmt.Sprintf("/proc/%d/exe", b.pid))
			binary, err2 := os.Stat(cmp.Or(os.Getenv("TSUBO_SENTRY"), r.Path))
			if err := errors.Join(err, err2); err != nil || !os.SameFile(exe, binary) {
				t.Errorf("the sandbox process runs %v, %v, want %v", exe, err, binary)
			}
			score, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", b.pid))
			if err != nil || string(score) != "500\n" {
				t.Errorf("oom_score_adj %q, %v", score, err)
			}

			// The steps after a crash of the sandbox: the sandbox process dies, its gofer follows
			// or is killed, then the files are removed.
			if err := unix.Kill(b.pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := r.KillProcesses(ctx, b.bundle, want...); err != nil {
				t.Error(err)
			}
			for _, pid := range want {
				if !dead(pid) {
					t.Errorf("process %d is left", pid)
				}
			}
			if pids, err := r.AllProcesses(); err != nil || len(pids) > 0 {
				t.Errorf("processes left: %v, %v", pids, err)
			}
			for range 2 { // idempotent
				if err := r.RemoveState(b.id); err != nil {
					t.Error(err)
				}
			}
			empty(t, r.Root)
			if n := mountsBelow(t, r.Root); n > 0 {
				t.Errorf("%d mounts are left below the root", n)
			}
			if err := runsc.Reap(ctx, want...); err != nil { // nothing to do
				t.Error(err)
			}
			for _, z := range zombies(t) {
				t.Errorf("a child is left to collect: %s", z)
			}
		})
	}
}

// TestTwoSandboxes checks that ending a sandbox does not affect another.
func TestTwoSandboxes(t *testing.T) {
	r := real(t)
	root, guest := trees(t, bundle.Directory)
	a, b := boot(t, r, root, guest), boot(t, r, root, guest)
	if err := r.KillProcesses(t.Context(), a.bundle, append(a.processes(t, r), b.pid+100000)...); err != nil {
		t.Error(err)
	}
	if err := r.RemoveState(a.id); err != nil {
		t.Error(err)
	}
	if got := b.ask(t, "hello"); !strings.HasPrefix(got, "pid 1 ") {
		t.Errorf("the other sandbox answers %q", got)
	}
	if ids, err := r.Leftovers(); err != nil || !slices.Equal(ids, []string{b.id}) {
		t.Errorf("leftovers %q, %v", ids, err)
	}
}

// TestRunFails checks that every error contains runsc's own message, and that nothing is left.
func TestRunFails(t *testing.T) {
	r := real(t)
	root, guest := trees(t, bundle.EROFS)
	for _, test := range []struct {
		name   string
		change func(o *runsc.RunOpts) bundle.Tree
		want   string
	}{
		{
			"image missing",
			func(*runsc.RunOpts) bundle.Tree { return bundle.Tree{Kind: bundle.EROFS, Path: "/nowhere.erofs"} },
			"/nowhere.erofs",
		},
		{"image corrupt", func(o *runsc.RunOpts) bundle.Tree {
			file := filepath.Join(o.Bundle, "corrupt")
			if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			return bundle.Tree{Kind: bundle.EROFS, Path: file}
		}, "runsc"},
		{"no init in it", func(*runsc.RunOpts) bundle.Tree { return root }, "tsubo-init"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o, _ := prepare(t, root, guest)
			spec := bundle.Config(bundle.Params{
				Root: root, Guest: test.change(&o), Seccomp: seccomp.Profile(),
				Limits: job.Limits{
					PIDs: 1, NProc: job.Rlimit{Soft: 1, Hard: 1}, NoFile: job.Rlimit{Soft: 256, Hard: 256}, FSize: 1,
					Tmp: 1, Output: 1,
				},
			})
			if err := os.Remove(filepath.Join(o.Bundle, "config.json")); err != nil {
				t.Fatal(err)
			}
			if err := bundle.Write(o.Bundle, spec); err != nil {
				t.Fatal(err)
			}
			_, err := r.Run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			empty(t, r.Root)
			if pids, err := r.AllProcesses(); err != nil || len(pids) > 0 {
				t.Errorf("processes left: %v, %v", pids, err)
			}
		})
	}
}

// TestRunCancelled cancels the boot at many moments. Each time Run fails with the cause or has
// booted, and nothing is left.
func TestRunCancelled(t *testing.T) {
	r := real(t)
	cause := errors.New("changed my mind")
	for _, kind := range []string{bundle.EROFS, bundle.Directory} {
		root, guest := trees(t, kind)
		for delay := time.Duration(0); delay <= 150*time.Millisecond; delay += 5 * time.Millisecond {
			o, _ := prepare(t, root, guest)
			ctx, cancel := context.WithCancelCause(t.Context())
			timer := time.AfterFunc(delay, func() { cancel(cause) })
			_, runErr := r.Run(ctx, o)
			timer.Stop()
			cancel(nil)
			switch {
			case runErr == nil:
				pids, err := r.Processes(o.Bundle)
				if err := errors.Join(err, r.KillProcesses(t.Context(), o.Bundle, pids...),
					r.RemoveState(o.ID)); err != nil {
					t.Error(err)
				}
			case !errors.Is(runErr, cause):
				t.Errorf("%s after %v: %v", kind, delay, runErr)
			}
			empty(t, r.Root)
			if pids, err := r.AllProcesses(); err != nil || len(pids) > 0 {
				t.Errorf("%s after %v (%v): processes left: %v, %v%s", kind, delay, runErr, pids, err, describe(pids))
			}
		}
	}
}

// describe lists processes for an error message.
func describe(pids []int) string {
	var out strings.Builder
	for _, pid := range pids {
		for _, file := range []string{"cmdline", "stat"} {
			data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file))
			fmt.Fprintf(&out, "\n%d %s: %q", pid, file, data)
		}
	}
	return out.String()
}

// TestThreadsMeetPatches checks that threads that make their first system calls at the same places
// at the same time keep running. On an emulated processor they would hang if system calls were
// patched ([Emulated]).
func TestThreadsMeetPatches(t *testing.T) {
	r := real(t)
	root, guest := trees(t, bundle.Directory)
	b := boot(t, r, root, guest)
	for range 10 {
		if got := b.ask(t, "patch 5"); got != "5" {
			t.Fatalf("patch: %q", got)
		}
	}
}

// TestRefusedSentryDoesNotBoot checks that runsc, which looks for a sentry beside its own file,
// uses none that UseSentry has not checked.
func TestRefusedSentryDoesNotBoot(t *testing.T) {
	original := need.Runsc(t)
	dir, err := os.MkdirTemp("/var/lib", "tsubo-test") // not in a sticky directory, which Find refuses
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path, stray := filepath.Join(dir, "runsc"), filepath.Join(dir, "gvisor-bin", "gvisor_sentry")
	data, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Dir(stray), 0o755), os.WriteFile(path, data, 0o755),
		os.WriteFile(stray, data, 0o755), os.Chmod(stray, 0o777))
	if err != nil {
		t.Fatal(err)
	}
	r, err := runsc.Find(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.UseSentry(t.Context(), stray); err == nil {
		t.Fatal("a sentry that everybody may write was taken")
	}
	if err := r.UseRoot(filepath.Join(shortDir(t), "r")); err != nil {
		t.Fatal(err)
	}
	r.Flags.IgnoreCgroups = true
	if err := runsc.BecomeSubreaper(); err != nil {
		t.Fatal(err)
	}
	root, guest := trees(t, bundle.EROFS)
	b := boot(t, r, root, guest)
	got, err := os.Stat(fmt.Sprintf("/proc/%d/exe", b.pid))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(got, want) {
		t.Error("the sandbox process does not execute the runsc that was found")
	}
}
