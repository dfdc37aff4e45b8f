package runsc

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const saysVersion = `[ "$1" = --version ] && echo "runsc version v1"`

// fakeSentry writes a sentry binary beside the fake runsc.
func fakeSentry(t *testing.T, runsc, script string) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(runsc), "gvisor-bin", sentryName)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUseSentry(t *testing.T) {
	path, top := fake(t, saysVersion)
	r, err := find(path, top, []uint32{me()})
	if err != nil {
		t.Fatal(err)
	}
	env := func() string { return strings.Join(r.command(t.Context()).Env, " ") }
	if got := env(); !strings.Contains(got, sentryDir+"="+noSentries) {
		t.Errorf("environment %q, want no sentry in it", got)
	}
	sentry := fakeSentry(t, path, saysVersion)
	if err := r.UseSentry(t.Context(), sentry); err != nil {
		t.Fatal(err)
	}
	if want := sentryDir + "=" + filepath.Dir(sentry); !slices.Contains(r.command(t.Context()).Env, want) {
		t.Errorf("environment %q, want %s in it", env(), want)
	}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	fakeSentry(t, path, saysVersion+"\n# another")
	if err := r.Check(); !errors.Is(err, ErrChanged) {
		t.Errorf("after a change: %v, want ErrChanged", err)
	}
}

func TestUseSentryRefuses(t *testing.T) {
	path, top := fake(t, saysVersion)
	for name, test := range map[string]struct {
		change func(sentry string) string
		plain  bool // not ErrSentry: the host is at fault, and the daemon must not start
	}{
		"another version": {func(s string) string { return fakeSentry(t, path, `echo "runsc version v2"`) }, false},
		"not for all":     {func(s string) string { _ = os.Chmod(s, 0o744); return s }, false},
		"behind a door":   {func(s string) string { _ = os.Chmod(filepath.Dir(s), 0o700); return s }, false},
		"writable":        {func(s string) string { _ = os.Chmod(s, 0o757); return s }, true},
		"in a writable directory": {func(s string) string {
			_ = os.Chmod(filepath.Dir(s), 0o777)
			return s
		}, true},
		"a prewarmer beside it": {func(s string) string {
			if err := os.WriteFile(filepath.Join(filepath.Dir(s), "gvisor-sentry-prewarmer"), nil, 0o755); err != nil {
				t.Fatal(err)
			}
			return s
		}, true},
		"no version":      {func(s string) string { return fakeSentry(t, path, "false") }, true},
		"another name":    {func(s string) string { return path }, true},
		"a link to other": {func(s string) string { _ = os.Remove(s); _ = os.Symlink(path, s); return s }, true},
		"missing":         {func(s string) string { _ = os.Remove(s); return s }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := find(path, top, []uint32{me()})
			if err != nil {
				t.Fatal(err)
			}
			sentry := fakeSentry(t, path, saysVersion)
			if err := os.Chmod(sentry, 0o755); err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(filepath.Dir(sentry))
			err = r.UseSentry(t.Context(), test.change(sentry))
			if err == nil || errors.Is(err, ErrSentry) == test.plain {
				t.Errorf("error %v", err)
			}
			// If the variable is unset, runsc takes gvisor-bin beside its own file.
			if env := r.command(t.Context()).Env; !slices.Contains(env, sentryDir+"="+noSentries) {
				t.Errorf("used all the same: %q", env)
			}
		})
	}
}
