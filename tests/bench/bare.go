package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/tsubo-run/tsubo/netns"
	"github.com/tsubo-run/tsubo/runsc"
)

// bare is a plain, attached `runsc run` per job, from this program: with the flags of runsc.Args
// less --detach, and the very config.json that tsubod wrote for a sandbox of its own, in which only
// the process is another (the interpreter instead of tsubo-init) and, for the row of that name, the
// root. Each is started in an empty network namespace of its own, made ahead, as tsubod does it.
// There is no leaf.
type bare struct {
	counter
	label string
	runsc string
	root  string // --root
	spec  []byte // config.json
	dir   string // for bundles
	stock *netns.Stock
	next  atomic.Uint64
}

// bareSpec is the configuration that tsubod wrote, with the process of a bare run. rootDir replaces
// the root by a directory; "" leaves it.
func bareSpec(written []byte, rootDir string) ([]byte, error) {
	var spec specs.Spec
	if err := json.Unmarshal(written, &spec); err != nil {
		return nil, fmt.Errorf("read tsubod's config.json: %w", err)
	}
	if spec.Process == nil || spec.Root == nil || spec.Linux == nil || spec.Linux.Seccomp == nil {
		return nil, errors.New("tsubod's config.json has no process, root or filter")
	}
	spec.Process.Args = append([]string{python}, program...)
	spec.Linux.CgroupsPath = ""
	if rootDir != "" {
		spec.Annotations = nil
		spec.Root.Path = rootDir
	}
	return json.Marshal(spec)
}

// bareArgs is tsubo's command line, attached: without --detach, and without a leaf.
func bareArgs(root, bundle, id string) []string {
	args := runsc.Args(root, runsc.Flags{IgnoreCgroups: true, NoSyscallPatching: runsc.Emulated()}, runsc.RunOpts{ID: id, Bundle: bundle})
	return slices.DeleteFunc(args, func(a string) bool { return a == "--detach" })
}

func (b *bare) name() string { return b.label }

func (b *bare) once(ctx context.Context) (sample, error) { return b.load(ctx) }

func (b *bare) load(ctx context.Context) (sample, error) {
	var s sample
	err := b.run(ctx, b.spec, func(cmd *exec.Cmd) (err error) {
		s, err = b.time(cmd)
		return err
	})
	return s, err
}

// run makes a bundle, hands the command that runs it to do, on a thread in a network namespace of
// its own, and clears away. The bundle is made before and removed after do, as tsubod's is made at
// boot and removed after the answer.
func (b *bare) run(ctx context.Context, spec []byte, do func(*exec.Cmd) error) (err error) {
	id := "bench-" + strconv.FormatUint(b.next.Add(1), 10)
	dir := filepath.Join(b.dir, b.label+"-"+id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a bundle: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), spec, 0o600); err != nil {
		return fmt.Errorf("write a bundle: %w", err)
	}
	said, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return fmt.Errorf("make runsc's log: %w", err)
	}
	defer said.Close()
	ns, err := b.stock.Take(ctx)
	if err != nil {
		return fmt.Errorf("take a network namespace: %w", err)
	}
	defer func() { err = errors.Join(err, ns.Close()) }()
	cmd := exec.CommandContext(ctx, b.runsc, bareArgs(b.root, dir, b.label+"-"+id)...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.ExtraFiles = []*os.File{said} // --log-fd=3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := ns.Do(func() error { return do(cmd) }); err != nil {
		log, _ := os.ReadFile(said.Name()) // shown if it is there
		return fmt.Errorf("%s: %w: %s", b.label, err, log[:min(len(log), 2000)])
	}
	return nil
}

// phases runs a program that speaks once and ends, and reports when it was heard, and when the
// command was over: what of a row's time is boot, and what is exit and teardown.
func (b *bare) phases(ctx context.Context) (first, end time.Duration, err error) {
	var spec specs.Spec
	if err := json.Unmarshal(b.spec, &spec); err != nil {
		return 0, 0, err
	}
	spec.Process.Args = []string{python, "-S", "-c", "import os; os.write(1, b'.')"}
	data, err := json.Marshal(spec)
	if err != nil {
		return 0, 0, err
	}
	err = b.run(ctx, data, func(cmd *exec.Cmd) error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		cmd.Stdout = w
		start := time.Now()
		err = cmd.Start()
		_ = w.Close() // the command has its own
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
			return errors.Join(err, cmd.Wait())
		}
		first = time.Since(start)
		err = cmd.Wait()
		end = time.Since(start)
		return err
	})
	return first, end, err
}
