// Command bench is `make bench`: jobs in tsubo beside what else would run them, in one run on one
// machine, interleaved. It starts its own tsubods, needs root, and prints a table; build/bench.json
// has the figures, build/bench.svg a plot of them. A target that is missed is reported and is no
// failure; a run that measured something else than it says is: a layer of the sandbox off, or a row
// served by another tier.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/tests/tsubod"
)

func main() {
	rootfs.MaybeChild()
	var (
		quick    = flag.Bool("quick", false, "fewer samples and shorter windows: under four minutes")
		bin      = flag.String("bin", "build/bin", "folder of tsubod and tsubo-init")
		runscBin = flag.String("runsc", "build/bin/runsc", "the runsc of every row")
		layouts  = flag.String("images", "build/images", "folder of OCI layouts, python among them")
		out      = flag.String("o", "build", "folder for bench.json and bench.svg")
		readme   = flag.String("readme", "", "a copy of the plot for the README, such as docs/bench.svg")
		only     = flag.String("rows", "", "measure these rows alone, separated by commas, at one client alone")
		leaf     = flag.String("leaf", "", "what tests/bench/leaf measured in the VM, a JSON file")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := &bench{plan: planFor(*quick)}
	if *only != "" {
		b.only = strings.Split(*only, ",")
	}
	b.started = time.Now()
	b.tell = func(what string) {
		fmt.Fprintf(os.Stderr, "bench: %4.0f s: %s\n", time.Since(b.started).Seconds(), what)
	}
	if err := b.place(*bin, *runscBin, *layouts); err != nil {
		fail(err)
	}
	err := errors.Join(b.run(ctx, *leaf), b.close(), os.RemoveAll(b.dir), os.RemoveAll(filepath.Dir(b.opt.Init)))
	if err != nil {
		fail(err)
	}
	b.report.print(os.Stdout)
	if err := b.report.write(*out, *readme); err != nil {
		fail(err)
	}
	b.tell("done")
	if bad := b.report.invalid(); len(bad) > 0 {
		fail(fmt.Errorf("rows that are no measurement of what they are called: %v", bad))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// place finds everything that is measured, and a folder for the run whose path is short enough for
// a socket.
func (b *bench) place(bin, runscBin, layouts string) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, as tsubod does")
	}
	var errs []error
	absolute := func(path string) string {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			real, err = filepath.Abs(real)
		}
		errs = append(errs, err)
		return real
	}
	b.opt = tsubod.Options{
		Bin: absolute(filepath.Join(bin, "tsubod")), Runsc: absolute(runscBin), Images: absolute(filepath.Join(layouts, "python")),
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w (make build runsc image-python)", err)
	}
	installed, err := tsubod.Install(bin)
	if err != nil {
		return fmt.Errorf("%w (make build)", err)
	}
	b.opt.Init = filepath.Join(installed, "tsubo-init")
	dir, err := os.MkdirTemp("/var/lib", "tb") // nobody else can write above it
	if err != nil {
		return errors.Join(err, os.RemoveAll(installed))
	}
	b.dir, b.opt.Dir = dir, dir
	b.strict = tsubod.CanEnforce()
	b.opt.Strict = b.strict
	return os.Chmod(dir, 0o755) //nolint:gosec // roots below it are read by unprivileged sandboxes
}

// run measures everything. What was started is b.close's to stop.
func (b *bench) run(ctx context.Context, leaf string) error {
	r := &b.report
	r.Mode, r.When = "full", time.Now().UTC().Format(time.RFC3339)
	if b.plan.Quick {
		r.Mode = "quick"
	}
	r.Security = "permissive"
	if b.strict {
		r.Security = "strict"
	}
	r.Host = hostFacts()
	r.Memory, r.Load, r.Burst, r.Phases, r.Sweep = map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}, map[string]any{}
	// Attached runs are this program's children; what they leave for a moment is, too, so that it
	// is collected and counted.
	if err := runsc.BecomeSubreaper(); err != nil {
		return err
	}
	if err := b.setUp(ctx); err != nil {
		return err
	}
	b.versions(ctx)
	figures, why := map[string]number{}, map[string]string{}
	if err := b.waits(ctx, figures, why); err != nil {
		return err
	}
	if err := b.latencies(ctx); err != nil {
		return err
	}
	if err := b.rest(ctx, figures); err != nil {
		return err
	}
	if b.only == nil {
		if err := b.underLoad(ctx, figures, why); err != nil {
			return err
		}
	} else {
		r.Mode += ", rows " + strings.Join(b.only, ",")
	}
	for name, figure := range r.compare() {
		figures[name] = figure
	}
	why["hot_p50_to_docker_p50"], why["throughput_to_docker"] = b.absent["docker-runsc"], b.absent["docker-runsc"]
	r.Ratios = judge(figures, why)
	if err := b.leafInVM(leaf); err != nil {
		return err
	}
	r.Host["load_average_after"] = loadAverage()
	b.remarks()
	return nil
}

// underLoad is all that comes after the one-client rows.
func (b *bench) underLoad(ctx context.Context, figures map[string]number, why map[string]string) error {
	if err := b.throughputs(ctx); err != nil {
		return err
	}
	if err := b.halfLoad(ctx, figures, why); err != nil {
		return err
	}
	var coldP50 number
	if one := b.report.row("tsubo-cold"); one.Valid {
		coldP50 = one.P50
	}
	if err := b.burst(ctx, coldP50, figures, why); err != nil {
		return err
	}
	if err := b.phases(ctx); err != nil {
		return err
	}
	b.tell("sweep and memory")
	steps := []func() error{
		func() error { return b.sweepHistory(ctx, "before") },
		func() error { return b.history(ctx, figures, why) },
		func() error { return b.sweepHistory(ctx, fmt.Sprint(b.plan.History, " jobs more")) },
		func() error { return b.sweepOutput(ctx) },
		func() error { return b.queued(ctx, figures) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) versions(ctx context.Context) {
	v := map[string]any{
		"go": runtime.Version(), "tsubod": versionOf(ctx, b.opt.Bin, "--version"), "runsc": versionOf(ctx, b.opt.Runsc, "--version"),
		"python_native": versionOf(ctx, python, "--version"),
	}
	if _, answer, err := b.tsubos[cold].run(ctx, versionRequest); err == nil {
		v["python_in_the_image"] = answer.Stdout
	}
	if b.docker != nil {
		v["dockerd"] = b.docker.version
	}
	if boxes, err := b.loadedTsubo().daemon.Sandboxes(); err == nil && len(boxes) > 0 {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", boxes[0].Tree[0].PID)) // shown if it can be read
		v["tsubo_boots_with"] = filepath.Base(exe)
	}
	b.report.Versions = v
	for _, t := range b.tsubos {
		if t.enforced != nil {
			b.report.Enforced = t.enforced
		}
	}
	b.tell(fmt.Sprintf("enforced: %+v", *b.tsubos[cold].enforced))
}

// latencies makes the rows, with what one client at a time saw.
func (b *bench) latencies(ctx context.Context) error {
	var all []*collected
	for _, s := range b.subjects() {
		want := b.plan.Samples
		if s == subject(b.docker) {
			want = b.plan.DockerSamples
		}
		all = append(all, &collected{subject: s, want: want})
	}
	if err := interleave(ctx, all, b.plan.Warmup, b.tell); err != nil {
		return err
	}
	for _, name := range []string{"native", "runsc-dir", "runsc-erofs", "docker-runsc", "tsubo-cold", "tsubo-warm", "tsubo-hot"} {
		one := newRow(name)
		b.report.Rows = append(b.report.Rows, one)
		for _, c := range all {
			if c.subject.name() == name {
				tier := ""
				if t, ok := c.subject.(*tsubo); ok {
					tier = t.tier
				}
				one.latencies(c.samples, tier)
			}
		}
		if why := b.absent[name]; why != "" {
			one.note("absent: %s", why)
		} else if one.Samples == 0 {
			one.note("absent: not among -rows")
		}
	}
	return nil
}

// throughputs lets each row that counts work flat out with each number of clients, the rows in
// turn.
func (b *bench) throughputs(ctx context.Context) error {
	for i, clients := range b.plan.Clients {
		if i > 0 && b.plan.Enough > 0 && time.Since(b.started) > b.plan.Enough {
			b.note("QUICK on a machine this slow: no closed loop of %v clients", b.plan.Clients[i:])
			break
		}
		sums := map[subject]loaded{}
		for slice := range b.plan.Slices {
			b.tell(fmt.Sprintf("closed loops of %d clients, part %d of %d", clients, slice+1, b.plan.Slices))
			for _, s := range b.flatOut() {
				l, err := closedLoop(ctx, s, clients, b.plan.Ramp, b.plan.Window/time.Duration(b.plan.Slices))
				if err != nil {
					return err
				}
				if t, ok := s.(*tsubo); ok {
					if err := t.settle(ctx); err != nil {
						return err
					}
				}
				if slice > 0 {
					l = sums[s].and(l)
				}
				sums[s] = l
			}
		}
		for s, l := range sums {
			b.report.row(s.name()).throughput(l)
		}
	}
	for _, one := range b.report.Rows {
		if one.Samples > 0 && len(one.loads) == 0 {
			one.note("throughput_per_s: not measured in QUICK")
		}
	}
	b.sweepClients()
	return nil
}

// flatOut are the rows with a throughput: in QUICK those of which there is a target.
func (b *bench) flatOut() []subject {
	return slices.DeleteFunc(b.subjects(), func(s subject) bool {
		return b.plan.Quick && s != subject(b.docker) && s != subject(b.loadedTsubo()) && s.name() != "runsc-erofs"
	})
}

// halfLoad is the open loop.
func (b *bench) halfLoad(ctx context.Context, figures map[string]number, why map[string]string) error {
	const name = "hot_p99_to_p50_at_half_saturation"
	t := b.tsubos[hot]
	if t == nil {
		why[name] = b.absent["tsubo-hot"]
		return nil
	}
	rate := b.report.row("tsubo-hot").Throughput.value / 2
	if err := t.full(ctx); err != nil {
		return err
	}
	schedule := arrivals(rate, b.plan.OpenLoop, 1)
	b.tell(fmt.Sprintf("open loop: %.1f jobs a second", rate))
	latency, tiers, err := openLoop(ctx, t, schedule)
	if err != nil {
		return err
	}
	figures[name] = over(measured(latency.P99), measured(latency.P50))
	point := map[string]any{
		"rate_per_s": measured(rate), "jobs": latency.N, "p50_ms": measured(latency.P50), "p90_ms": measured(latency.P90), "p99_ms": measured(latency.P99),
		"max_ms": measured(latency.Max),
	}
	served(point, tiers)
	b.report.Load["open_loop_at_half_saturation"] = point
	return t.settle(ctx)
}

// phases reports which of runsc's costs are inside of a bare row.
func (b *bench) phases(ctx context.Context) error {
	all := make([][2][]float64, len(b.bares))
	for range b.plan.Phases {
		for i, one := range b.bares {
			first, end, err := one.phases(ctx)
			if err != nil {
				return err
			}
			all[i][0], all[i][1] = append(all[i][0], ms(first)), append(all[i][1], ms(end-first))
		}
	}
	for i, one := range b.bares {
		b.report.Phases[one.label+"_p50_ms"] = map[string]any{
			"until_the_program_speaks": measured(spreadOf(all[i][0]).P50), "its_exit_and_the_teardown": measured(spreadOf(all[i][1]).P50),
		}
	}
	return nil
}

func (b *bench) note(format string, args ...any) {
	b.report.Notes = append(b.report.Notes, fmt.Sprintf(format, args...))
}

// remarks reports what the reader of the figures must know.
func (b *bench) remarks() {
	if b.strict {
		b.note("tsubod ran strict: every limit in force, in a leaf of its own for each sandbox.")
	} else {
		b.note("tsubod ran PERMISSIVE: this host cannot enforce limits, so that no sandbox, of any row, had a cgroup leaf; all else was in force (see enforced).")
	}
	b.note("native and bare rows run python3 -S -c pass. A bare row has tsubo's own config.json, filter and flags, attached, without a leaf; its process is the " +
		"interpreter instead of tsubo-init, and its time ends when runsc has torn it down. tsubo's rows run the code pass in an interpreter that has started " +
		"in full (site included), through socket, daemon, record and answer.")
	b.note("Every row has the same runsc; where a sentry binary of that version lies beside tsubo-init, tsubo's rows boot with that (tsubo_boots_with), bare rows " +
		"and Docker with runsc itself, as it comes.")
	b.note("cpu_ms_per_job is of the one-client rows: of every process that a job causes, its clean-up and what is made for the next one included.")
}

func (r *report) write(dir, readme string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // figures are no secret
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.json"), append(data, '\n'), 0o644); err != nil { //nolint:gosec // the same
		return err
	}
	foot := fmt.Sprintf("make bench, %s mode, tsubod %s; %v CPUs, Linux %v; bars: median, lines: to the 99th percentile", r.Mode, r.Security, r.Host["cpus"], r.Host["kernel"])
	svg := []byte(plot("One job, one client, end to end", foot, r.Rows))
	files := []string{filepath.Join(dir, "bench.svg")}
	if readme != "" {
		files = append(files, readme)
	}
	for _, file := range files {
		if err := os.WriteFile(file, svg, 0o644); err != nil { //nolint:gosec // the same
			return err
		}
	}
	return nil
}
