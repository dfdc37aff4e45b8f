package limits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const (
	mountpoint = "/sys/fs/cgroup"
	daemonDir  = "daemon"
	jobsDir    = "jobs"

	// enteredEnv hands the lock to stage 2: "FD:SUBTREE".
	enteredEnv = "TSUBO_CGROUP_ENTERED"
)

// Entered is a prepared stage 2. The subtree is locked, swept and laid out, and the process is in
// its daemon/ cgroup. A dedicated thread waits in the namespaces in which the program will be
// executed. The rest of the process still sees the host.
type Entered struct {
	Subtree string
	lock    *os.File
	exec    chan execRequest
}

type execRequest struct {
	argv, env []string
	keep      []*os.File
	failed    chan error
}

// Enter makes this process the owner of the subtree (see [FindSubtree]). It takes the lock, kills
// and removes a crashed daemon's leftovers, moves the process in, and prepares the view of stage 2.
// Leftovers get killWait to exit, or until ctx ends.
//
// Errors: [*MissingError] (the host cannot enforce limits; nothing was changed), [*BusyError]
// (another daemon), [*ForeignError] (the subtree is not tsubo's alone; nothing was touched). After
// any error the process is back in its original cgroup, no thread is left in another namespace, and
// the lock is free. A permissive daemon may then continue.
//
// Outside the subtree Enter writes nothing, except one mkdir of the last path element if it is
// missing.
func Enter(ctx context.Context, subtree string) (*Entered, error) {
	if InStage2() || opened.Load() {
		return nil, errors.New("enter the cgroup subtree: this process is in stage 2 already")
	}
	e := &Entered{Subtree: subtree, exec: make(chan execRequest)}
	result := make(chan error)
	onOwnThread(func() {
		err := e.enter(ctx)
		result <- err
		if err == nil {
			e.serve()
		}
	})
	if err := <-result; err != nil {
		return nil, fmt.Errorf("enter cgroup subtree %s: %w", subtree, err)
	}
	return e, nil
}

// enter runs on the thread that will execute stage 2.
func (e *Entered) enter(ctx context.Context) (err error) {
	mount, err := findMount()
	if err != nil {
		return &MissingError{Probe(e.Subtree).Missing()}
	}
	root, err := openMount(mount)
	if err != nil {
		return err
	}
	defer root.close()
	own, err := ownCgroup()
	if err != nil {
		return err
	}
	inside := own == e.Subtree
	if strings.HasPrefix(own, e.Subtree+"/") {
		return &ForeignError{e.Subtree, fmt.Sprintf("this process itself is in %s", own)}
	}
	host, made, err := openSubtree(root, e.Subtree, inside)
	if err != nil {
		return err
	}
	defer host.close()
	if e.lock, err = lock(host, e.Subtree); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if made {
				_ = root.rmdir(e.Subtree[1:]) // stays if somebody else has begun to use it
			}
			err = errors.Join(err, e.lock.Close())
		}
	}()
	if err := checkDomain(host, e.Subtree); err != nil {
		return err
	}
	if err := checkOurs(host, e.Subtree, inside); err != nil {
		return err
	}
	if !inside {
		back, errMove := moveIn(ctx, root, host, own)
		if errMove != nil {
			return errMove
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, moveSelf(back))
			}
			_ = back.Close()
		}()
	}
	view, err := newView(host)
	if err != nil {
		return err
	}
	defer view.close()
	if inside { // only now is there a mount that is sure to be writable: ProtectControlGroups= makes the unit's own view read-only
		if err := clean(ctx, view); err != nil {
			return err
		}
	}
	return layOut(view)
}

// openSubtree opens the subtree in the host's view and makes its last element if it is missing.
func openSubtree(root *dir, subtree string, inside bool) (d *dir, made bool, err error) {
	if !inside {
		if err := checkParent(subtree); err != nil {
			return nil, false, err
		}
	}
	d, err = root.walk(subtree)
	if err == nil || !errors.Is(err, unix.ENOENT) {
		return d, false, err
	}
	above, err := root.walk(path.Dir(subtree))
	if err != nil {
		return nil, false, err
	}
	defer above.close()
	d, err = above.mkdir(path.Base(subtree))
	return d, err == nil, err
}

// checkDomain refuses a cgroup that cannot have domain controllers below it.
func checkDomain(d *dir, subtree string) error {
	kind, err := d.read("cgroup.type")
	if err != nil {
		return err
	}
	if kind != "domain" {
		return &ForeignError{subtree, fmt.Sprintf("its cgroup.type is %q", kind)}
	}
	have, err := d.words("cgroup.controllers")
	if err != nil {
		return err
	}
	for _, c := range needed {
		if !slices.Contains(have, c) {
			missing := Probe(subtree).Missing()
			if len(missing) == 0 {
				missing = []Missing{{"cgroup v2 controller " + c, "enable it in every cgroup above " + subtree}}
			}
			return &MissingError{missing}
		}
	}
	return nil
}

// moveIn sweeps the subtree and moves this process into it. It returns the open cgroup.procs of the
// process's original cgroup.
func moveIn(ctx context.Context, root, host *dir, own string) (*os.File, error) {
	origin, err := root.walk(own)
	if err != nil {
		return nil, fmt.Errorf("open the daemon's own cgroup: %w", err)
	}
	defer origin.close()
	back, err := origin.open("cgroup.procs", unix.O_WRONLY)
	if err != nil {
		return nil, fmt.Errorf("open the daemon's own cgroup: %w", err)
	}
	err = clean(ctx, host)
	if err == nil {
		if err = host.write("cgroup.procs", "0"); err != nil {
			err = fmt.Errorf("move the daemon into its subtree: %w", err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, back.Close())
	}
	return back, nil
}

func moveSelf(procs *os.File) error {
	if _, err := procs.WriteString("0"); err != nil {
		return fmt.Errorf("move the daemon back: %w", err)
	}
	return nil
}

// clean kills and removes the daemon/ and jobs/ of a crashed daemon. It also disables the
// controllers of the subtree's children; until then no process may enter the subtree itself.
func clean(ctx context.Context, d *dir) error {
	if err := errors.Join(removeChild(ctx, d, jobsDir), removeChild(ctx, d, daemonDir)); err != nil {
		return fmt.Errorf("sweep leftovers: %w", err)
	}
	on, err := d.words("cgroup.subtree_control")
	if err != nil || len(on) == 0 {
		return err
	}
	if err := d.write("cgroup.subtree_control", "-"+strings.Join(on, " -")); err != nil {
		return fmt.Errorf("take controllers back: %w", err)
	}
	return nil
}

// newView moves this thread into a cgroup namespace rooted at the process's cgroup, which must be
// the subtree. It also gives the thread a mount namespace in which /sys/fs/cgroup shows that view
// and is the only cgroup mount.
//
// The mount must follow the namespace: a new cgroup2 mount from the initial cgroup namespace would
// reset the hierarchy's mount options (nsdelegate, memory_recursiveprot) for the whole host.
func newView(host *dir) (*dir, error) {
	if err := unix.Unshare(unix.CLONE_NEWCGROUP | unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("unshare cgroup and mount namespaces: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	if err := detachCgroups(); err != nil {
		return nil, err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RELATIME)
	if err := unix.Mount("cgroup2", mountpoint, "cgroup2", flags, ""); err != nil {
		return nil, fmt.Errorf("mount cgroup2 on %s: %w", mountpoint, err)
	}
	view, err := openMount(mountpoint)
	if err != nil {
		return nil, err
	}
	if same, err := sameFile(view.f, host.f); err != nil || !same {
		return nil, errors.Join(fmt.Errorf("%s does not show the subtree %s", mountpoint, host.path), err, view.close())
	}
	return view, nil
}

// detachCgroups detaches every cgroup mount from this mount namespace. Mounts may be stacked.
func detachCgroups() error {
	for range 100 {
		mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
		if err != nil {
			return fmt.Errorf("read the mount table: %w", err)
		}
		if len(mounts) == 0 {
			return nil
		}
		at := mounts[len(mounts)-1].Mountpoint
		if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("detach %s: %w", at, err)
		}
	}
	return errors.New("detach cgroup mounts: there is no end to them")
}

// layOut makes daemon/ and jobs/ in the view, moves the process into daemon/, and enables the
// controllers for both. The process must leave the root first, or the kernel refuses the
// controllers.
func layOut(view *dir) (err error) {
	daemon, err := view.mkdir(daemonDir)
	if err != nil {
		return err
	}
	defer daemon.close()
	root, err := view.open("cgroup.procs", unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := errors.Join(mark(daemon), daemon.write("cgroup.procs", "0")); err != nil {
		return errors.Join(err, view.rmdir(daemonDir))
	}
	defer func() {
		if err != nil {
			on, errRead := view.words("cgroup.subtree_control")
			if errRead == nil && len(on) > 0 {
				errRead = view.write("cgroup.subtree_control", "-"+strings.Join(on, " -"))
			}
			err = errors.Join(err, errRead, moveSelf(root), view.rmdir(daemonDir))
		}
	}()
	if err := handDown(view); err != nil {
		return err
	}
	jobs, err := view.mkdir(jobsDir)
	if err != nil {
		return err
	}
	defer jobs.close()
	if err := errors.Join(mark(jobs), handDown(jobs)); err != nil {
		return errors.Join(err, view.rmdir(jobsDir))
	}
	return nil
}

// handDown enables the needed controllers for d's children, and io if available, and reads them
// back.
func handDown(d *dir) error {
	have, err := d.words("cgroup.controllers")
	if err != nil {
		return err
	}
	on := slices.Clone(needed)
	if slices.Contains(have, "io") {
		on = append(on, "io")
	}
	if err := d.write("cgroup.subtree_control", "+"+strings.Join(on, " +")); err != nil {
		return fmt.Errorf("enable controllers: %w", err)
	}
	return checkHandedDown(d)
}

func checkHandedDown(d *dir) error {
	have, err := d.words("cgroup.subtree_control")
	if err != nil {
		return err
	}
	for _, c := range needed {
		if !slices.Contains(have, c) {
			return &ReadbackError{File: join(d.path, "cgroup.subtree_control"), Want: c, Got: strings.Join(have, " ")}
		}
	}
	return nil
}

// Exec replaces this process with argv, run from /proc/self/exe in the prepared namespaces. The pid
// stays. env is the environment without the variable that Exec adds for [Open]. The files in keep
// stay open under their numbers. argv or env must pass those numbers to stage 2, which should set
// close-on-exec again. Exec returns only if it fails.
func (e *Entered) Exec(argv, env []string, keep ...*os.File) error {
	failed := make(chan error)
	e.exec <- execRequest{argv, env, keep, failed}
	return <-failed
}

// serve waits for Exec on the prepared thread. It never returns, because the view would vanish with
// the thread.
func (e *Entered) serve() {
	for r := range e.exec {
		r.failed <- e.execute(r)
	}
}

func (e *Entered) execute(r execRequest) error {
	keep := append(slices.Clone(r.keep), e.lock)
	for i, f := range keep {
		if err := setCloexec(f, false); err != nil {
			for _, g := range keep[:i] {
				_ = setCloexec(g, true)
			}
			return err
		}
	}
	env := append(slices.Clone(r.env), enteredEnv+"="+strconv.Itoa(int(e.lock.Fd()))+":"+e.Subtree)
	err := syscall.Exec("/proc/self/exe", r.argv, env)
	for _, f := range keep {
		_ = setCloexec(f, true)
	}
	return fmt.Errorf("execute stage 2: %w", err)
}

func setCloexec(f *os.File, on bool) error {
	flag := 0
	if on {
		flag = unix.FD_CLOEXEC
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, flag); err != nil {
		return fmt.Errorf("set close-on-exec of %s: %w", f.Name(), err)
	}
	return nil
}
