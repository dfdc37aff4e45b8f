package limits

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

func TestParseKeyed(t *testing.T) {
	for _, c := range []struct {
		text string
		want []uint64
	}{
		{"oom 1\noom_kill 2\n", []uint64{1, 2}},
		{"low 0\noom_kill 18446744073709551615\noom 0\n", []uint64{0, math.MaxUint64}},
		{"oom 1\n", nil}, // a missing key is no zero
		{"", nil},
		{"oom 1\noom_kill\n", nil},
		{"oom 1\noom_kill two\n", nil},
	} {
		got, err := parseKeyed("f", c.text, "oom", "oom_kill")
		if (err == nil) != (c.want != nil) || err == nil && (got[0] != c.want[0] || got[1] != c.want[1]) {
			t.Errorf("%q: %v, %v, want %v", c.text, got, err, c.want)
		}
	}
}

func TestQuota(t *testing.T) {
	for cores, want := range map[float64]int64{0.1: 10_000, 0.3: 30_000, 1: 100_000, 1.5: 150_000, 2.0 / 3: 66_667, 16: 1_600_000} {
		if got := quota(cores); got != want {
			t.Errorf("quota(%v) = %d, want %d", cores, got, want)
		}
	}
}

func TestBootCheck(t *testing.T) {
	ok := Boot{Memory: 64 << 20, CPU: 0.1, Tasks: 10}
	for name, c := range map[string]struct {
		change func(*Boot)
		ok     bool
	}{
		"smallest":    {func(*Boot) {}, true},
		"no memory":   {func(b *Boot) { b.Memory = 0 }, false},
		"minus":       {func(b *Boot) { b.Memory = -1 }, false}, // would be "max"
		"no cpu":      {func(b *Boot) { b.CPU = 0 }, false},
		"NaN cpu":     {func(b *Boot) { b.CPU = math.NaN() }, false},
		"endless cpu": {func(b *Boot) { b.CPU = math.Inf(1) }, false},
		"no tasks":    {func(b *Boot) { b.Tasks = 0 }, false},
		"many tasks":  {func(b *Boot) { b.Tasks = maxTasks + 1 }, false},
	} {
		b := ok
		c.change(&b)
		if err := b.check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBootOf(t *testing.T) {
	l := job.Limits{Memory: 5, CPU: 3, PIDs: 100, NProc: job.Rlimit{Soft: 40, Hard: 50}}
	if got, want := BootOf(l), (Boot{Memory: 5, CPU: 3, Tasks: 50}); got != want {
		t.Errorf("BootOf = %+v, want %+v", got, want)
	}
	l.NProc.Hard, l.PIDs = math.MaxUint64, math.MaxInt
	if got := BootOf(l).Tasks; got != maxTasks {
		t.Errorf("Tasks = %d, want %d", got, maxTasks)
	}
}

func TestCheckParent(t *testing.T) {
	for parent, ok := range map[string]bool{
		"/tsubo": true, "/a.slice/b": true, "": false, "/": false, "tsubo": false, "/a/": false, "/a/../b": false, "/..": false,
		"//a": false, "/a\nb": false, "/a\x00": false,
	} {
		if err := checkParent(parent); (err == nil) != ok {
			t.Errorf("%q: %v", parent, err)
		}
	}
}

func TestKernelAtLeast(t *testing.T) {
	for _, c := range []struct {
		release      string
		major, minor int
		want         bool
	}{
		{"6.1.0-56-cloud-amd64", 5, 19, true}, {"6.1.0", 6, 12, false}, {"6.12.3+deb12", 6, 12, true}, {"5.14", 5, 14, true},
		{"5.4.0", 5, 14, false}, {"", 1, 0, false}, {"x.y", 1, 0, false},
	} {
		if got := kernelAtLeast(c.release, c.major, c.minor); got != c.want {
			t.Errorf("kernelAtLeast(%q, %d, %d) = %t", c.release, c.major, c.minor, got)
		}
	}
}

// Whatever this host is, Probe writes nothing and explains each missing thing; where anything is
// missing, Enter refuses and leaves the process as it was.
func TestProbeExplains(t *testing.T) {
	h := Probe("")
	t.Logf("%+v", h)
	for _, m := range h.Missing() {
		if m.What == "" || m.Fix == "" || strings.ContainsRune(m.What+m.Fix, '\n') {
			t.Errorf("missing %+v: want one line each", m)
		}
	}
	if len(h.Missing()) == 0 {
		return
	}
	before, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Enter(t.Context(), DefaultParent)
	var missing *MissingError
	if !errors.As(err, &missing) || len(missing.Missing) == 0 {
		t.Errorf("Enter = %v, want a MissingError", err)
	}
	after, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || string(after) != string(before) {
		t.Errorf("the process went from %q to %q, %v", before, after, err)
	}
}

func TestOpenNeedsEnter(t *testing.T) {
	for _, value := range []string{"", "x", "3", ":/tsubo", "0:/tsubo", "-1:/tsubo", "999999:/tsubo", "1x:/tsubo"} {
		t.Setenv(enteredEnv, value)
		if tree, err := Open(); err == nil {
			t.Errorf("%q: opened %+v", value, tree)
		}
		if InStage2() {
			t.Errorf("%q: the variable is still set", value)
		}
	}
	f, err := os.Open("/proc/self/status") // an open file that is no cgroup's
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := dupFD(f)
	if err != nil {
		t.Fatal(err)
	}
	if tree, err := open(fd + ":/tsubo"); err == nil || !strings.Contains(err.Error(), "cgroup2") {
		t.Errorf("opened %+v, %v", tree, err)
	}
}

func TestOpenMountRefusesOtherFileSystems(t *testing.T) {
	if d, err := openMount(t.TempDir()); err == nil {
		t.Errorf("opened %s", d.path)
	}
}

// dir never follows a link and never leaves the directory, whatever the names.
func TestDirStaysBeneath(t *testing.T) {
	tmp := t.TempDir()
	outside := t.TempDir()
	for _, err := range []error{
		os.WriteFile(tmp+"/file", []byte("in\n"), 0o600),
		os.WriteFile(outside+"/witness", []byte("out\n"), 0o600),
		os.Symlink(outside, tmp+"/dirlink"),
		os.Symlink(outside+"/witness", tmp+"/link"),
		os.Symlink("file", tmp+"/inner"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(tmp)
	if err != nil {
		t.Fatal(err)
	}
	d := &dir{f: f, path: tmp}
	defer d.close()
	if got, err := d.read("file"); got != "in" || err != nil {
		t.Errorf("read = %q, %v", got, err)
	}
	for _, name := range []string{"link", "inner", "dirlink/witness", "../" + outside, outside + "/witness", "..", ""} {
		if got, err := d.read(name); err == nil {
			t.Errorf("read %q = %q", name, got)
		}
		if err := d.write(name, "x"); err == nil {
			t.Errorf("wrote %q", name)
		}
	}
	if b, err := os.ReadFile(outside + "/witness"); string(b) != "out\n" || err != nil {
		t.Errorf("witness is %q, %v", b, err)
	}
}

// The factors are measured (see PIDsMax); the smallest and the largest job of the wire stay between
// what a sandbox needs and what a host can bear.
func TestPIDsMax(t *testing.T) {
	for _, c := range []struct {
		tasks int
		cpu   float64
		seen  int64 // the most tasks that were measured for this size
	}{{10, 1, 55}, {50, 1, 246}, {100, 1, 497}, {100, 8, 396}, {200, 2, 545}, {1000, 16, 5000}} {
		got := Boot{Tasks: c.tasks, CPU: c.cpu}.PIDsMax()
		if got < c.seen*3/2 || got > 32_000 {
			t.Errorf("PIDsMax for %d tasks and %v cores = %d; %d were seen", c.tasks, c.cpu, got, c.seen)
		}
	}
}
