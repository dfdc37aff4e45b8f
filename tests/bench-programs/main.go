// Command bench-programs measures real programs: each runs natively, in the image's root on this
// kernel, and as a hot job through the daemon's socket. The two take turns. A program whose output
// is not what its .out file holds, natively or in a job, is a failure. It prints a row per program
// and the geometric mean of hot to native, and needs root.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/tests/tsubod"
)

func main() {
	rootfs.MaybeChild()
	var (
		rounds   = flag.Int("rounds", 12, "samples of each program on each side")
		bin      = flag.String("bin", "build/bin", "folder of tsubod, tsubo-init and runsc")
		layouts  = flag.String("images", "build/images", "folder of the OCI layouts python, node and, where there is one, python-data")
		programs = flag.String("programs", "tests/bench-programs/programs", "folder of the programs")
		update   = flag.Bool("update", false, "write the .out files from the native runs")
		out      = flag.String("o", "build/programs.json", "file for the figures")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{rounds: *rounds, update: *update}
	err := b.run(ctx, *bin, *layouts, *programs, *out)
	if err = errors.Join(err, b.close()); err != nil {
		fmt.Fprintln(os.Stderr, "bench-programs:", err)
		os.Exit(1)
	}
}

// language is how the programs of one image run.
type language struct {
	name, image, pattern string // of the job type, its image, and its programs
	argv                 []string
	root                 string // unpacked, with the mounts of a native run
}

type program struct {
	Name     string  `json:"name"`
	Native   float64 `json:"native_ms"` // p50
	Hot      float64 `json:"hot_ms"`    // p50
	Ratio    float64 `json:"ratio"`
	file     string
	code     []byte
	language *language
}

type bench struct {
	rounds  int
	update  bool
	waiting int // hot sandboxes when all wait
	client  *client.Client
	undo    []func() error
}

func (b *bench) close() error {
	var errs []error
	for _, f := range slices.Backward(b.undo) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

func (b *bench) run(ctx context.Context, bin, layouts, folder, out string) error {
	dir, err := os.MkdirTemp("/var/lib", "tp") // nobody else can write above it; short, for a socket
	if err != nil {
		return err
	}
	b.undo = append(b.undo, func() error { return os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // roots below it are read by unprivileged processes
		return err
	}
	languages := []*language{
		{name: "python", image: "python", pattern: "*.py", argv: []string{"/usr/bin/python3", "-u", "/code/main.py"}},
		{name: "node", image: "node", pattern: "*.js", argv: []string{"/usr/bin/node", "/code/main.js"}},
	}
	if _, err := os.Stat(filepath.Join(layouts, "python-data")); err == nil {
		languages = append(languages, &language{name: "data", image: "python-data", pattern: "data/*.py", argv: languages[0].argv})
	} else {
		fmt.Println("no image python-data: its programs are left out (make image-python-data)")
	}
	b.waiting = 2 * len(languages)
	if err := b.unpack(ctx, dir, layouts, languages); err != nil {
		return err
	}
	if err := b.start(ctx, dir, bin, layouts, languages); err != nil {
		return err
	}
	all, err := load(folder, languages)
	if err != nil {
		return err
	}
	for _, p := range all {
		if err := b.measure(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return report(all, out)
}

// unpack makes a root for the native runs of each language: the image's own, with what a sandbox
// mounts.
func (b *bench) unpack(ctx context.Context, dir, layouts string, languages []*language) error {
	quiet := slog.New(slog.DiscardHandler)
	store, err := rootfs.Open(filepath.Join(dir, "roots"), rootfs.Options{MkfsErofs: "/nonexistent", Logger: quiet})
	if err != nil {
		return err
	}
	b.undo = append(b.undo, store.Close)
	catalogue, err := images.Open(filepath.Join(dir, "images"), store, images.Options{Logger: quiet})
	if err != nil {
		return err
	}
	for _, l := range languages {
		image, err := catalogue.ImportLayout(ctx, l.image, filepath.Join(layouts, l.image))
		if err != nil {
			return fmt.Errorf("%w (make image-%s)", err, l.image)
		}
		use, err := catalogue.Use(image.Digest)
		if err != nil {
			return err
		}
		b.undo = append(b.undo, func() error { use.Release(); return nil })
		l.root = use.Root.Path
		for _, m := range []struct{ source, target, kind, data string }{
			{"proc", "/proc", "proc", ""}, {"/dev", "/dev", "bind", ""},
			{"tmpfs", "/tmp", "tmpfs", "mode=1777"}, {"tmpfs", "/output", "tmpfs", "mode=0777,uid=1000,gid=1000"},
			{"tmpfs", "/code", "tmpfs", "mode=0755"}, {"tmpfs", "/input", "tmpfs", "mode=0755"},
		} {
			flags, target := uintptr(0), l.root+m.target
			if m.kind == "bind" {
				flags = unix.MS_BIND | unix.MS_REC
			}
			if err := unix.Mount(m.source, target, m.kind, flags, m.data); err != nil {
				return fmt.Errorf("mount %s: %w", target, err)
			}
			if err := unix.Mount("", target, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("mount %s: %w", target, err)
			}
			b.undo = append(b.undo, func() error { return unix.Unmount(target, unix.MNT_DETACH) })
		}
	}
	return nil
}

// start starts a daemon with a hot sandbox of each language.
func (b *bench) start(ctx context.Context, dir, bin, layouts string, languages []*language) error {
	installed, err := tsubod.Install(bin)
	if err != nil {
		return err
	}
	b.undo = append(b.undo, func() error { return os.RemoveAll(installed) })
	absolute := func(path string) string {
		real, failed := filepath.EvalSymlinks(path)
		if failed == nil {
			real, failed = filepath.Abs(real)
		}
		err = errors.Join(err, failed)
		return real
	}
	o := tsubod.Options{
		Name: "p", Bin: absolute(bin + "/tsubod"), Runsc: absolute(bin + "/runsc"), Init: filepath.Join(installed, "tsubo-init"), Images: absolute(layouts),
		Dir: dir, Strict: tsubod.CanEnforce(),
		Config: "pool_min: 2\npool_max: 2\nwarm_max: 0\nmax_workers: 1\njob_types:\n  - {name: python, timeout: 60}\n  - {name: node, language: node, timeout: 60}\n",
	}
	if len(languages) > 2 {
		o.Config += "  - {name: data, image: python-data, timeout: 60, memory_limit: 1g, preload: [numpy, pandas, matplotlib.pyplot]}\n"
	}
	if err != nil {
		return fmt.Errorf("%w (make build runsc)", err)
	}
	d, err := tsubod.Start(ctx, o)
	if err != nil {
		return err
	}
	b.undo = append(b.undo, d.Stop)
	b.client = client.New(d.Socket)
	b.undo = append(b.undo, func() error { b.client.Close(); return nil })
	return nil
}

func load(folder string, languages []*language) ([]*program, error) {
	var all []*program
	for _, l := range languages {
		files, err := filepath.Glob(filepath.Join(folder, l.pattern))
		if err != nil || len(files) == 0 {
			return nil, errors.Join(fmt.Errorf("no %s programs in %s", l.name, folder), err)
		}
		for _, f := range files {
			code, err := os.ReadFile(f) //nolint:gosec // the caller's own folder
			if err != nil {
				return nil, err
			}
			if len(bytes.TrimSpace(code)) == 0 {
				code = []byte("\n;\n") // an empty program is no request
			}
			all = append(all, &program{Name: filepath.Base(f), file: f, code: code, language: l})
		}
	}
	return all, nil
}

// measure runs a program on both sides in turns.
func (b *bench) measure(ctx context.Context, p *program) error {
	var native, hot []float64
	for round := range b.rounds + 1 { // the first warms caches and does not count
		text, took, err := p.native(ctx)
		if err != nil {
			return fmt.Errorf("native: %w", err)
		}
		want := p.file + ".out"
		if b.update && round == 0 {
			if err := os.WriteFile(want, []byte(text), 0o644); err != nil { //nolint:gosec // a test's expectation
				return err
			}
		}
		expected, err := os.ReadFile(want)
		if err != nil {
			return err
		}
		if text != string(expected) {
			return fmt.Errorf("native output %q, want %q", text, expected)
		}
		if err := b.ready(ctx); err != nil {
			return err
		}
		began := time.Now()
		a, err := b.client.Execute(ctx, client.Request{Code: string(p.code), JobType: p.language.name, InputData: json.RawMessage(`{"k":1}`)})
		if err != nil {
			return fmt.Errorf("job: %w", err)
		}
		jobTook := time.Since(began)
		if a.Status != job.Succeeded || a.Stdout != string(expected) || a.Stderr != "" {
			return fmt.Errorf("job: %s, stdout %q, stderr %q; want %q", a.Status, a.Stdout, a.Stderr, expected)
		}
		if a.Timing.Sandbox == nil || *a.Timing.Sandbox != "hot" {
			return fmt.Errorf("job: no hot sandbox served it")
		}
		if round > 0 {
			native, hot = append(native, took), append(hot, float64(jobTook.Microseconds())/1000)
		}
	}
	p.Native, p.Hot = median(native), median(hot)
	p.Ratio = p.Hot / p.Native
	fmt.Printf("%-24s native %8.1f ms   hot %8.1f ms   %5.2f\n", p.Name, p.Native, p.Hot, p.Ratio)
	return nil
}

// native runs the program in the image's root and returns its output and how long it took, in
// milliseconds.
func (p *program) native(ctx context.Context) (string, float64, error) {
	root := p.language.root
	home := root + "/tmp/home"
	for _, d := range []string{root + "/output", root + "/tmp"} {
		names, err := os.ReadDir(d)
		if err != nil {
			return "", 0, err
		}
		for _, n := range names {
			if err := os.RemoveAll(filepath.Join(d, n.Name())); err != nil {
				return "", 0, err
			}
		}
	}
	err := errors.Join(os.Mkdir(home, 0o700), os.Chown(home, 1000, 1000),
		os.WriteFile(root+p.language.argv[len(p.language.argv)-1], p.code, 0o644), //nolint:gosec // the program reads it
		os.WriteFile(root+"/input/data.json", []byte(`{"k":1}`), 0o644))           //nolint:gosec // the program reads it
	if err != nil {
		return "", 0, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, p.language.argv[0], p.language.argv[1:]...)
	cmd.Path, cmd.Err = p.language.argv[0], nil // below the root
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/output", &stdout, &stderr
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp/home", "LANG=C.UTF-8", "XDG_CACHE_HOME=/tmp/home/.cache"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: false}}
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return "", 0, fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.String(), float64(time.Since(began).Microseconds()) / 1000, nil
}

// ready waits until hot sandboxes of both languages wait.
func (b *bench) ready(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s, err := b.client.PoolSandboxes(ctx)
		if err != nil {
			return err
		}
		if s.HotWaiting >= b.waiting && s.Booting == 0 { // two of each language: the built-in job type is one of Python
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d hot sandboxes wait after a minute", s.HotWaiting)
		}
	}
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// report prints the geometric means and writes the figures.
func report(all []*program, out string) error {
	logs := map[string][]float64{}
	for _, p := range all {
		logs[p.language.name] = append(logs[p.language.name], math.Log(p.Ratio))
	}
	means := map[string]float64{}
	for name, list := range logs {
		sum := 0.0
		for _, l := range list {
			sum += l
		}
		means[name] = math.Exp(sum / float64(len(list)))
		fmt.Printf("%-24s %d programs, geometric mean of hot : native %.2f\n", strings.ToUpper(name), len(list), means[name])
	}
	data, err := json.MarshalIndent(map[string]any{"programs": all, "geometric_means": means}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(data, '\n'), 0o644) //nolint:gosec // figures
}
