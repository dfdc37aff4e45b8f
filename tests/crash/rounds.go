package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rounds of one kind, each with a start that is loaded and a start that checks.
type rounds struct {
	count   int
	load    int
	seed    uint64
	dir     string // for state; on the disk that is to be shared with nobody
	what    string // "store" or "tsubod"
	seeds   string // images for tsubod
	options string // mount options of the log rounds
	rnd     *rand.Rand
}

// child starts this program again, to start what is tested in dir.
func (r *rounds) child(dir, before string, power bool, load int, more ...string) *exec.Cmd {
	args := []string{r.what, "-dir", dir, "-before", before, "-load", strconv.Itoa(load), "-seeds", r.seeds,
		"-seed", strconv.FormatUint(r.rnd.Uint64()>>1, 10)}
	if power {
		args = append(args, "-power")
	}
	cmd := exec.Command("/proc/self/exe", append(args, more...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// kill ends each start at a random point of its load by SIGKILL; the next one checks it. State goes
// on from round to round.
func (r *rounds) kill() error {
	dir, before := filepath.Join(r.dir, "data"), ""
	for n := 1; n <= r.count; n++ {
		// A job makes two to three lines on the average.
		after := r.rnd.IntN(5*r.load/2) + 1
		facts, err := run(r.child(dir, before, false, r.load, "-kill", strconv.Itoa(after)))
		if err != nil {
			return fmt.Errorf("round %d, which checks round %d and is killed %d lines into its load: %w", n, n-1, after, err)
		}
		if before, err = r.keep(fmt.Sprint("kill-", n), facts); err != nil {
			return err
		}
		fmt.Printf("kill -9 %s: round %d: %s\n", r.what, n, summary(facts))
	}
	facts, err := run(r.child(dir, before, false, 0))
	if err != nil {
		return fmt.Errorf("the check of round %d: %w", r.count, err)
	}
	fmt.Printf("kill -9 %s: %d rounds held, at the end: %s\n", r.what, r.count, summary(facts))
	return nil
}

// keep writes a ledger where the next start finds it.
func (r *rounds) keep(name string, facts []fact) (path string, err error) {
	path = filepath.Join(r.dir, name)
	return path, writeLedger(path, facts)
}

// run runs a start to its end, which may be that it kills itself.
func run(cmd *exec.Cmd) (facts []fact, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f, err := parseFact(lines.Text())
		if err != nil {
			return facts, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
		}
		facts = append(facts, f)
	}
	err = cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		err = nil
	}
	return facts, errors.Join(err, lines.Err())
}

// log loads a start on a disk over dm-log-writes, and then, for one random point of the load, puts
// together what had been flushed by then, and starts on that.
func (r *rounds) log() error {
	for n := 1; n <= r.count; n++ {
		if err := r.logRound(n); err != nil {
			return fmt.Errorf("round %d over dm-log-writes: %w", n, err)
		}
	}
	fmt.Printf("dm-log-writes %s: %d rounds held\n", r.what, r.count)
	return nil
}

func (r *rounds) logRound(n int) (err error) {
	disk, err := newLogDisk("/tmp", "crashlog")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.remove()) }()
	if _, err := command("mke2fs", "-q", "-t", "ext4", "-m", "0", "-E", "nodiscard", disk.device()); err != nil {
		return err
	}
	var facts []fact
	err = r.mounted(disk.device(), func(dir string) error {
		facts, err = run(r.child(dir, "", false, r.load, "-mark", disk.name))
		return err
	})
	if err := errors.Join(err, disk.finish()); err != nil {
		return err
	}
	at := 1 + r.rnd.IntN(len(facts))
	for !marked(at) {
		at = 1 + r.rnd.IntN(len(facts))
	}
	left := filepath.Join("/tmp", "crashlog.left")
	if err := emptyFile(left, logDiskMiB<<20); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(left)) }()
	if err := disk.replay(left, fmt.Sprint("line-", at)); err != nil {
		return err
	}
	before, err := r.keep(fmt.Sprint("log-", n), facts[:at])
	if err != nil {
		return err
	}
	err = r.mounted(left, func(dir string) error {
		_, err := run(r.child(dir, before, true, 0))
		return err
	})
	if err != nil {
		return fmt.Errorf("with what had been flushed after line %d of %d: %w", at, len(facts), err)
	}
	fmt.Printf("dm-log-writes %s: round %d: at line %d of %d: %s\n", r.what, n, at, len(facts), summary(facts[:at]))
	return nil
}

// mounted mounts a device, or a file as one, while do runs.
func (r *rounds) mounted(device string, do func(dir string) error) error {
	dir, err := os.MkdirTemp("/mnt", "crash-")
	if err != nil {
		return err
	}
	options := "defaults"
	if r.options != "" {
		options = r.options
	}
	if !strings.HasPrefix(device, "/dev/") {
		options += ",loop"
	}
	if _, err := command("mount", "-o", options, device, dir); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	err = do(dir)
	return errors.Join(err, unmount(dir), os.Remove(dir))
}

// unmount waits for what was killed a moment ago to let go.
func unmount(dir string) (err error) {
	for range 100 {
		if _, err = command("umount", dir); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// summary counts the facts in a ledger.
func summary(facts []fact) string {
	var accepted, running, ended, deleted int
	for _, k := range learn(facts) {
		switch {
		case k.deleted:
			deleted++
		case k.ended != "":
			ended++
		case k.begun:
			running++
		}
		if k.accepted {
			accepted++
		}
	}
	return fmt.Sprintf("%d accepted, of them %d running, %d ended, %d deleted", accepted, running, ended, deleted)
}
