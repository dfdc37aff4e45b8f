package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tsubo-run/tsubo/api"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/sandbox"
	"github.com/tsubo-run/tsubo/store"
)

func TestMain(m *testing.M) {
	rootfs.MaybeChild()
	goleak.VerifyTestMain(m,
		// Package signal and database/sql keep these goroutines for the life of the process.
		goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreTopFunction("os/signal.loop"))
}

var quiet = slog.New(slog.DiscardHandler)

// configured loads a configuration with these lines.
func configured(t *testing.T, lines string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "tsubo.yaml")
	text := "data_dir: " + dir + "/data\nrun_dir: " + dir + "/run\nmemory_budget: 2g\n" + lines
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func kill(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

func ends(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: nothing came", what)
	}
}

func TestSignals(t *testing.T) {
	stop, hurry, reload, forget := listen(context.Background(), quiet)
	defer forget()
	kill(t, syscall.SIGHUP)
	ends(t, "reload", reload)
	if stop.Err() != nil {
		t.Fatal("SIGHUP stops the daemon")
	}
	kill(t, syscall.SIGTERM)
	ends(t, "stop", stop.Done())
	kill(t, syscall.SIGHUP)
	ends(t, "reload while stopping", reload)
	if hurry.Err() != nil {
		t.Fatal("one signal hurries")
	}
	kill(t, syscall.SIGINT)
	ends(t, "hurry", hurry.Done())
}

func TestForgottenSignals(t *testing.T) {
	stop, hurry, _, forget := listen(context.Background(), quiet)
	forget()
	if stop.Err() == nil || hurry.Err() == nil {
		t.Error("what waits for them still waits")
	}
}

// bare returns a daemon with rules and records but no host.
func bare(t *testing.T, cfg *config.Config) *Daemon {
	t.Helper()
	d := &Daemon{cfg: cfg, log: quiet, failed: make(chan error, 2)}
	cfg.Pool.Enabled = false
	for _, step := range []error{d.openAccess(cfg), d.setRules(cfg), d.openStore(t.Context(), cfg),
		d.openPool(cfg, &sandbox.Host{Runsc: &runsc.Runsc{}}, false)} {
		if step != nil {
			t.Fatal(step)
		}
	}
	t.Cleanup(func() {
		if err := d.undo.run(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func TestReload(t *testing.T) {
	d := bare(t, configured(t, "max_workers: 3\n"))
	if got := d.rules.Load().MaxTimeout; got != 300*time.Second {
		t.Fatal(got)
	}
	good := configured(t, "max_workers: 5\nmax_timeout: 100\nexecution_record_ttl_days: 7\n"+
		"job_types:\n  - name: again\n    retry_on_interrupt: true\n")
	if err := d.Reload(good); err != nil {
		t.Fatal(err)
	}
	if r := d.rules.Load(); r.MaxTimeout != 100*time.Second || !r.Types["again"].RetryOnInterrupt ||
		d.retention.Load().Records != 7*24*time.Hour {
		t.Errorf("rules %+v, retention %+v", r.Policy, d.retention.Load())
	}
	before := d.rules.Load()
	d.cfg.MemoryBudget = 600 * job.MiB // the daemon started with a smaller budget
	for name, lines := range map[string]string{
		"a type that does not fit the budget of the running daemon": "job_types:\n" +
			"  - name: big\n    memory_limit: 1g\n",
		"access without a key": "server_host: 0.0.0.0\n",
	} {
		if err := d.Reload(configured(t, lines)); err == nil {
			t.Errorf("%s: reloaded", name)
		}
	}
	if d.rules.Load() != before {
		t.Error("a reload that failed has changed something")
	}
}

func TestNeedRestart(t *testing.T) {
	old := configured(t, "")
	same := *old
	if got := needRestart(old, &same); len(got) != 0 {
		t.Errorf("nothing changed, and %v", got)
	}
	changed := *old
	changed.MaxWorkers, changed.Keeping.QueueTTL, changed.Access.Port, changed.MaxTimeout = 9, time.Hour, 1, time.Second
	if got := needRestart(old, &changed); !slices.Equal(got,
		[]string{"max_workers", "queue_ttl_seconds", "server_port"}) {
		t.Error(got)
	}
}

func TestAccess(t *testing.T) {
	d := bare(t, configured(t, ""))
	text, key, err := d.keys.Create("ci", true, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	auth := d.auth(configured(t, "api_auth_enabled: true\napi_keys: [\"sha256:"+strings.Repeat("ab", 32)+"\"]\n"))
	if k, ok := auth.Find(sha256.Sum256([]byte(text))); !ok || k != (api.FoundKey{ID: key.ID, Admin: true}) {
		t.Errorf("%+v %v", k, ok)
	}
	old, _, err := d.keys.Create("old", false, time.Now().Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := auth.Find(sha256.Sum256([]byte(old))); !ok || !k.Expired {
		t.Errorf("a key of the past: %+v %v", k, ok)
	}
	if _, ok := auth.Find(sha256.Sum256([]byte(text + " "))); ok {
		t.Error("found another key")
	}
	if !auth.RequireKey || len(auth.Keys) != 1 || auth.Keys[0].SHA256[0] != 0xab || auth.WindowSeconds != 60 ||
		auth.Requests != 120 || auth.UnixRequests != 0 {
		t.Errorf("%+v", auth)
	}
	for lines, want := range map[string]string{
		"":                                      "",
		"allow_unauthenticated_loopback: true":  api.LoopbackUser,
		"allow_unauthenticated_loopback: admin": api.LoopbackAdmin,
		"server_host: 0.0.0.0\nallow_unauthenticated_network_access: true":     api.OpenToAll,
		"server_host: 127.0.0.1\nallow_unauthenticated_network_access: true":   "",
		"allow_unauthenticated_network_access: true\napi_auth_enabled: true\n": "",
	} {
		if got := d.auth(configured(t, lines)).LoopbackRole; got != want {
			t.Errorf("%q: role %q, want %q", lines, got, want)
		}
	}
}

// The purge runs at once and ends with the daemon.
func TestPurgeAtStart(t *testing.T) {
	cfg := configured(t, "")
	dir := filepath.Join(cfg.DataDir, stateDir)
	past := func() time.Time { return time.Now().Add(-40 * 24 * time.Hour) }
	old, err := store.Open(t.Context(), store.Config{Dir: dir, Now: past})
	if err != nil {
		t.Fatal(err)
	}
	rec := &job.Record{ID: "old", Caller: "uid:1", Status: job.Queued, Async: true, CreatedAt: past()}
	if _, err := old.Accept(t.Context(), rec, &job.Request{Code: "1"}); err != nil {
		t.Fatal(err)
	}
	rec.Status, rec.EndedAt = job.Cancelled, past()
	if err := old.Finish(t.Context(), rec, nil); err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	d := bare(t, cfg)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := d.store.Get(t.Context(), "old"); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a record of 40 days ago is still there")
		}
	}
}

// The last use of a key is in the file once the daemon has ended.
func TestLastUseIsWritten(t *testing.T) {
	cfg := configured(t, "")
	t.Cleanup(func() { // runs after the daemon's own cleanup
		file, err := openKeys(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if all := file.List(); len(all) != 1 || all[0].LastUsedAt.IsZero() {
			t.Errorf("kept %+v", all)
		}
	})
	d := bare(t, cfg)
	text, _, err := d.keys.Create("ci", false, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := d.auth(cfg).Find(sha256.Sum256([]byte(text))); !ok {
		t.Error("the key is not found")
	}
}

// A write that exceeds the configured total wakes the purge, long before purgeEvery.
func TestOverrunWakesPurge(t *testing.T) {
	d := bare(t, configured(t, ""))
	keep := *d.cfg
	keep.Keeping.TotalBytes = 100_000
	if err := d.setRules(&keep); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"first", "second"} {
		d.store.Save(&job.Record{ID: id, Caller: "uid:1", Status: job.Succeeded, Stdout: strings.Repeat("x", 70_000)},
			nil, nil)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		n, err := d.store.Bytes(t.Context(), "")
		if err == nil && n > 0 && n <= keep.Keeping.TotalBytes {
			if _, err = d.store.Get(t.Context(), "first"); errors.Is(err, job.ErrNotFound) {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are kept: %v", n, err)
		}
	}
}

func TestCheckConfigChecksAccess(t *testing.T) {
	cfg := configured(t, "server_host: 0.0.0.0\n")
	var said strings.Builder
	if status := Main([]string{"tsubod", "--config", cfg.File, "--check-config"},
		io.MultiWriter(&said)); status != exitRefused || !strings.Contains(said.String(), "server_host") {
		t.Errorf("status %d, said %q", status, said.String())
	}
	said.Reset()
	cfg = configured(t, "")
	if status := Main([]string{"tsubod", "--config", cfg.File, "--check-config", "--tcp"},
		&said); status != exitRefused || !strings.Contains(said.String(), "every user of this host") {
		t.Errorf("status %d, said %q", status, said.String())
	}
}

func TestCanaryThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	d := &Daemon{log: quiet}
	wrong := &sandbox.CanaryError{Wrong: []string{"x"}}
	for name, c := range map[string]struct {
		answers []error
		want    error
		asked   int
	}{
		"right":                 {[]error{nil}, nil, 1},
		"silent, then right":    {[]error{sandbox.ErrSilent, nil}, nil, 2},
		"silent, then wrong":    {[]error{sandbox.ErrSilent, wrong}, wrong, 2},
		"wrong is not repeated": {[]error{wrong, nil}, wrong, 1},
		"silent to the end": {[]error{sandbox.ErrSilent, sandbox.ErrSilent, sandbox.ErrSilent, nil},
			sandbox.ErrSilent, 3},
	} {
		asked := 0
		err := d.ask(t.Context(), func(context.Context, rootfs.Root, job.Limits) error {
			asked++
			return c.answers[asked-1]
		}, rootfs.Root{})
		if !errors.Is(err, c.want) || asked != c.asked {
			t.Errorf("%s: %v after %d", name, err, asked)
		}
	}
}
