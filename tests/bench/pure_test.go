package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/runsc"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, c := range []struct {
		values  []float64
		p, want float64
	}{
		{hundred, 50, 50}, {hundred, 90, 90}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1},
		{[]float64{7}, 50, 7}, {[]float64{7}, 99, 7}, {[]float64{1, 2}, 50, 1}, {[]float64{1, 2}, 51, 2}, {[]float64{1, 2, 3}, 99, 3},
	} {
		if got := percentile(c.values, c.p); got != c.want {
			t.Errorf("p%v of %v: %v, want %v", c.p, c.values, got, c.want)
		}
	}
	if !math.IsNaN(percentile(nil, 50)) {
		t.Error("nothing has a percentile")
	}
}

func TestSpreadLeavesTheOrder(t *testing.T) {
	values := []float64{3, 1, 2}
	s := spreadOf(values)
	if !slices.Equal(values, []float64{3, 1, 2}) || s.N != 3 || s.Min != 1 || s.P50 != 2 || s.Max != 3 || s.Mean != 2 {
		t.Errorf("%v, %+v", values, s)
	}
}

// TestArrivals: in order, within the time, as many as the rate asks, the same for the same seed,
// and not evenly spaced.
func TestArrivals(t *testing.T) {
	const rate, seconds = 50, 200
	all := arrivals(rate, seconds*time.Second, 1)
	if n, want := float64(len(all)), float64(rate*seconds); math.Abs(n-want) > 4*math.Sqrt(want) {
		t.Errorf("%v arrivals, want about %v", n, want)
	}
	if !slices.IsSorted(all) || all[0] < 0 || all[len(all)-1] >= seconds*time.Second {
		t.Error("out of order, or out of the time")
	}
	if !slices.Equal(all, arrivals(rate, seconds*time.Second, 1)) || slices.Equal(all, arrivals(rate, seconds*time.Second, 2)) {
		t.Error("the seed does not decide")
	}
	var short int // of exponential gaps, 1-1/e are shorter than the mean
	for i := range all[1:] {
		if all[i+1]-all[i] < time.Second/rate {
			short++
		}
	}
	if share := float64(short) / float64(len(all)-1); share < 0.60 || share > 0.67 {
		t.Errorf("%.2f of the gaps are shorter than the mean", share)
	}
	if arrivals(0, time.Second, 1) != nil {
		t.Error("a rate of 0 has arrivals")
	}
}

// fake is a subject that takes the time it is shown.
type fake struct {
	label   string
	order   *[]string
	release chan struct{} // load waits until it is closed; nil: not
	holds   int64         // how many loads it takes to close it
	came    atomic.Int64
	drawn   []int // what waiting says, in turn
}

func (f *fake) name() string { return f.label }
func (f *fake) once(context.Context) (sample, error) {
	*f.order = append(*f.order, f.label)
	return sample{took: time.Millisecond}, nil
}

func (f *fake) load(ctx context.Context) (sample, error) {
	if f.release != nil {
		if f.came.Add(1) == f.holds {
			close(f.release)
		}
		select {
		case <-f.release:
		case <-ctx.Done():
			return sample{}, ctx.Err()
		}
	}
	return sample{took: time.Millisecond, tier: hot}, nil
}

func (f *fake) waiting() (int, error) {
	n := f.drawn[0]
	f.drawn = f.drawn[1:]
	return n, nil
}
func (f *fake) cpu() (time.Duration, bool) { return 0, true }

func TestInterleave(t *testing.T) {
	var order []string
	a, b := &collected{subject: &fake{label: "a", order: &order}, want: 3}, &collected{subject: &fake{label: "b", order: &order}, want: 1}
	if err := interleave(context.Background(), []*collected{a, b}, 1, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if len(a.samples) != 3 || len(b.samples) != 1 {
		t.Errorf("%d and %d samples", len(a.samples), len(b.samples))
	}
	if got := strings.Join(order, ""); got != "ab"+"ba"+"a"+"a" { // the first round is warm-up
		t.Errorf("order %q", got)
	}
}

// TestOpenLoopCountsFromTheIntendedArrival: the first job ends once the last has come, and has
// waited as long, whatever it says itself.
func TestOpenLoopCountsFromTheIntendedArrival(t *testing.T) {
	const last = 40 * time.Millisecond
	f := &fake{release: make(chan struct{}), holds: 3}
	latency, tiers, err := openLoop(context.Background(), f, []time.Duration{0, 20 * time.Millisecond, last})
	if err != nil {
		t.Fatal(err)
	}
	if latency.N != 3 || latency.Max < ms(last) || tiers[hot] != 3 {
		t.Errorf("%+v, %v", latency, tiers)
	}
}

func TestClosedLoopSubtractsWhatIsDrawnDown(t *testing.T) {
	f := &fake{drawn: []int{5, 2}}
	l, err := closedLoop(context.Background(), f, 2, 0, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if l.drawnDown != 3 || l.tiers[hot] != len(l.took) {
		t.Errorf("%+v", l)
	}
	l = loaded{took: make([]float64, 103), drawnDown: 3, window: 10 * time.Second, cpu: time.Second, tiers: map[string]int{hot: 103}}
	if r := l.perSecond(); r != 10 {
		t.Errorf("100 jobs of its own in 10 s are %v a second", r)
	}
	both := l.and(loaded{took: make([]float64, 97), drawnDown: 2, window: 9 * time.Second, cpu: time.Second, tiers: map[string]int{hot: 90, cold: 7}})
	if r := both.perSecond(); r != 195.0/19 || both.cpuPerJob() != 10 || both.tiers[hot] != 193 || both.tiers[cold] != 7 || l.tiers[hot] != 103 {
		t.Errorf("both: %v a second, %+v", r, both.tiers)
	}
}

func TestLacking(t *testing.T) {
	good := job.Enforced{Runtime: "runsc", Rootfs: "erofs", ReadOnlyRoot: true, Seccomp: true, Network: "none"}
	if off := lacking(good, false); len(off) > 0 {
		t.Errorf("permissive: %v", off)
	}
	if off := lacking(good, true); len(off) != 5 {
		t.Errorf("strict without a leaf: %v", off)
	}
	for name, change := range map[string]func(*job.Enforced){
		"runtime": func(e *job.Enforced) { e.Runtime = "runc" }, "rootfs": func(e *job.Enforced) { e.Rootfs = "directory" },
		"root": func(e *job.Enforced) { e.ReadOnlyRoot = false }, "seccomp": func(e *job.Enforced) { e.Seccomp = false },
		"network": func(e *job.Enforced) { e.Network = "host" },
	} {
		bad := good
		change(&bad)
		if len(lacking(bad, false)) != 1 {
			t.Errorf("%s off is not seen", name)
		}
	}
}

func TestHitRate(t *testing.T) {
	samples := func(hits, all int) []sample {
		s := make([]sample, all)
		for i := range s {
			s[i] = sample{took: time.Millisecond, cpu: -1, leaf: -1, tier: map[bool]string{true: hot, false: cold}[i < hits]}
		}
		return s
	}
	for _, c := range []struct {
		hits, all int
		valid     bool
	}{{100, 100, true}, {99, 100, true}, {98, 100, false}, {0, 10, false}} {
		r := newRow("tsubo-hot")
		r.latencies(samples(c.hits, c.all), hot)
		if r.Valid != c.valid || r.HitRate.value != float64(c.hits)/float64(c.all) {
			t.Errorf("%d of %d: valid %v, rate %v", c.hits, c.all, r.Valid, r.HitRate)
		}
		rep := &report{Rows: []*row{r}}
		if (len(rep.invalid()) == 0) != c.valid {
			t.Errorf("%d of %d: invalid rows %v", c.hits, c.all, rep.invalid())
		}
	}
	silent := newRow("tsubo-hot")
	silent.latencies([]sample{{took: 1}}, hot)
	if silent.Valid {
		t.Error("a daemon that does not say what served a job has a hot row")
	}
}

func TestTierOf(t *testing.T) {
	if tier := tierOf(&job.ExecuteAnswer{}); tier != "" {
		t.Errorf("nothing said: %q", tier)
	}
	said := hot
	if tier := tierOf(&job.ExecuteAnswer{Timing: job.Timing{Sandbox: &said}}); tier != hot {
		t.Errorf("hot: %q", tier)
	}
}

func TestRatios(t *testing.T) {
	figures := map[string]number{"hot_p50_to_native_p50": measured(0.6), "throughput_to_docker": measured(4.9), "hot_p50_to_docker_p50": measured(math.NaN())}
	all := judge(figures, map[string]string{"hot_p50_to_docker_p50": "no dockerd"})
	if len(all) != len(targets) {
		t.Errorf("%d ratios, want %d", len(all), len(targets))
	}
	if r := all["hot_p50_to_native_p50"]; r.Met == nil || !*r.Met {
		t.Errorf("at its target: %+v", r)
	}
	if r := all["throughput_to_docker"]; r.Met == nil || *r.Met {
		t.Errorf("below its floor: %+v", r)
	}
	if r := all["hot_p50_to_docker_p50"]; r.Met != nil || r.Why != "no dockerd" {
		t.Errorf("not measured: %+v", r)
	}
	for name, r := range all {
		if r.Met == nil && r.Why == "" {
			t.Errorf("%s: neither measured nor a reason", name)
		}
	}
}

// TestCompareTakesTheSameClients: throughput is held against a bare run of as many clients, and an
// invalid row against nothing.
func TestCompareTakesTheSameClients(t *testing.T) {
	rep := &report{Rows: []*row{newRow("native"), newRow("runsc-erofs"), newRow("tsubo-hot")}}
	for _, r := range rep.Rows {
		r.latencies([]sample{{took: 10 * time.Millisecond, tier: hot}}, map[bool]string{true: hot}[r.Name == "tsubo-hot"])
	}
	for clients, perSecond := range map[int][2]int{2: {20, 10}, 4: {9, 12}} {
		rep.row("runsc-erofs").throughput(loaded{clients: clients, took: make([]float64, perSecond[0]), window: time.Second})
		rep.row("tsubo-hot").throughput(loaded{clients: clients, took: make([]float64, perSecond[1]), window: time.Second})
	}
	f := rep.compare()
	if got := f["throughput_to_runsc_erofs"].value; got != 12.0/9 {
		t.Errorf("throughput %v", got)
	}
	if got := f["hot_p50_to_native_p50"]; got.value != 1 {
		t.Errorf("hot to native %v", got)
	}
	rep.row("tsubo-hot").Valid = false
	if got := rep.compare()["hot_p50_to_native_p50"]; got.measured {
		t.Errorf("an invalid row has a ratio of %v", got)
	}
}

// TestJSON: the names that others read, null for what was not measured, and numbers that JSON has.
func TestJSON(t *testing.T) {
	r := newRow("docker-runsc")
	r.throughput(loaded{clients: 4, took: []float64{1}})
	rep := &report{Rows: []*row{r}, Ratios: judge(nil, nil)}
	data, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	var back struct {
		Rows   []map[string]any
		Ratios map[string]map[string]any
	}
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"p50_ms", "p90_ms", "p99_ms", "throughput_per_s", "cpu_ms_per_job"} {
		if v, there := back.Rows[0][key]; !there || v != nil {
			t.Errorf("%s: %v, there: %v; want null", key, v, there)
		}
	}
	if back.Rows[0]["name"] != "docker-runsc" || len(back.Ratios) != len(targets) {
		t.Errorf("%v", back)
	}
	if data, _ := json.Marshal(measured(1.23456)); string(data) != "1.235" {
		t.Errorf("a number is %s", data)
	}
	var out strings.Builder
	rep.print(&out)
	if !strings.Contains(out.String(), "docker-runsc") || strings.Contains(out.String(), "%!") {
		t.Errorf("table: %s", out.String())
	}
}

func TestOutline(t *testing.T) {
	var b strings.Builder
	outline(&b, "", map[string]any{
		"b": 1, "a": map[string]any{"16": map[string]any{"y": 2, "x": measured(1.5)}, "2": map[string]any{"x": number{}}},
	})
	if want := "a:\n  2: x -\n  16: x 1.50, y 2\nb: 1\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// TestPlotEscapes: whatever a name holds, the plot is XML, and the name is text in it.
func TestPlotEscapes(t *testing.T) {
	const nasty = `<script>&"'` + "\x01]]>"
	rows := []*row{{Name: nasty, Valid: true, P50: measured(10), P99: measured(300)}, {Name: "left out", Valid: true}, {Name: "invalid", P50: measured(1)}}
	for name, svg := range map[string]string{"rows": plot(nasty, nasty, rows), "one": plot("a", "b", rows[:1]), "none": plot("a", "b", nil)} {
		d := xml.NewDecoder(strings.NewReader(svg))
		seen, elements := 0, map[string]bool{}
		for {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, svg)
			}
			switch token := token.(type) {
			case xml.StartElement:
				elements[token.Name.Local] = true
			case xml.CharData:
				if strings.Contains(string(token), `<script>&"'`) {
					seen++
				}
			}
		}
		if elements["script"] || strings.Contains(svg, "NaN") || strings.Contains(svg, "left out") || strings.Contains(svg, "invalid") {
			t.Errorf("%s: %s", name, svg)
		}
		if name == "rows" && seen != 3 {
			t.Errorf("the text is shown %d times", seen)
		}
	}
}

func TestBareSpec(t *testing.T) {
	const written = `{"ociVersion":"1.0.0","process":{"args":["/.tsubo/tsubo-init"],"cwd":"/"},"root":{"path":"rootfs","readonly":true},
		"annotations":{"dev.gvisor.spec.rootfs.type":"erofs"},"linux":{"cgroupsPath":"/jobs/x","seccomp":{"defaultAction":"SCMP_ACT_ERRNO"}}}`
	same, err := bareSpec([]byte(written), "")
	if err != nil {
		t.Fatal(err)
	}
	if s := string(same); !strings.Contains(s, `"-S","-c","pass"`) || strings.Contains(s, "tsubo-init") || strings.Contains(s, "/jobs/x") ||
		!strings.Contains(s, "erofs") || !strings.Contains(s, "SCMP_ACT_ERRNO") {
		t.Errorf("%s", s)
	}
	dir, err := bareSpec([]byte(written), "/root/dir")
	if err != nil {
		t.Fatal(err)
	}
	if s := string(dir); strings.Contains(s, "erofs") || !strings.Contains(s, `"path":"/root/dir"`) || !strings.Contains(s, `"readonly":true`) {
		t.Errorf("%s", s)
	}
	for _, bad := range []string{"", "{}", `{"process":{},"root":{},"linux":{}}`} {
		if _, err := bareSpec([]byte(bad), ""); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestBareArgs: every flag of tsubo's own command line, but not detached.
func TestBareArgs(t *testing.T) {
	own := runsc.Args("/r", runsc.Flags{IgnoreCgroups: true, NoSyscallPatching: runsc.Emulated()}, runsc.RunOpts{ID: "i", Bundle: "/b"})
	bare := bareArgs("/r", "/b", "i")
	if slices.Contains(bare, "--detach") || len(bare) != len(own)-1 || !slices.Contains(bare, "--oci-seccomp") || !slices.Contains(bare, "--ignore-cgroups") {
		t.Errorf("%q beside %q", bare, own)
	}
}

func TestWaited(t *testing.T) {
	at := time.Now()
	stamp := func(d time.Duration) *job.Stamp { return job.StampOf(at.Add(d)) }
	for _, c := range []struct {
		from, to *job.Stamp
		want     time.Duration
	}{{stamp(0), stamp(time.Second), time.Second}, {stamp(time.Second), stamp(0), 0}, {nil, stamp(0), 0}, {stamp(0), nil, 0}} {
		r := &job.FullAnswer{RecordAnswer: job.RecordAnswer{CreatedAt: c.from, StartedAt: c.to}}
		if got := waited(r); got != c.want {
			t.Errorf("%v to %v: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}

func TestPlans(t *testing.T) {
	full, quick := planFor(false), planFor(true)
	if full.Samples < 300 || full.DockerSamples < 50 || full.Window < time.Minute || full.History != 10_000 || len(full.OutputSizes) == 0 {
		t.Errorf("full: %+v", full)
	}
	if quick.Samples < 60 || quick.DockerSamples < 15 || quick.Window < 15*time.Second || quick.History != 0 || len(quick.OutputSizes) != 0 {
		t.Errorf("quick: %+v", quick)
	}
	for name, p := range map[string]plan{"full": full, "quick": quick} {
		if p.Burst != 50 || p.Queued != 1000 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestVirtualises(t *testing.T) {
	for text, want := range map[string]bool{
		"flags\t\t: fpu svm sse\n": true, "flags: vmx": true, "flags\t\t: fpu svm_lock\n": false, "flags : fpu hypervisor": false, "": false,
	} {
		if got := virtualises(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
