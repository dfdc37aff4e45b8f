package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// dockerd answers as far as the bench asks, and remembers what was asked.
type dockerd struct {
	mu     sync.Mutex
	asked  []string
	bodies map[string]string
	exit   int
	info   string
}

func (d *dockerd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	what := r.Method + " " + r.URL.Path
	d.asked = append(d.asked, what)
	d.bodies[what] = string(body)
	switch what {
	case "GET /info":
		_, _ = io.WriteString(w, d.info)
	case "POST /containers/create":
		_, _ = io.WriteString(w, `{"Id":"c1"}`)
	case "POST /containers/c1/wait":
		_, _ = fmt.Fprintf(w, `{"StatusCode":%d}`, d.exit)
	case "POST /containers/c1/start", "DELETE /containers/c1":
		w.WriteHeader(http.StatusNoContent)
	}
}

func serveDocker(t *testing.T) (*dockerd, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	d := &dockerd{bodies: map[string]string{}, info: `{"ServerVersion":"1.2","Runtimes":{"runc":{},"runsc":{}}}`}
	server := &http.Server{Handler: d}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return d, socket
}

// layout is an OCI layout with so many layers.
func layout(t *testing.T, layers int) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("index.json", `{"manifests":[{"digest":"sha256:m"}]}`)
	write("blobs/sha256/m", `{"layers":[`+strings.TrimSuffix(strings.Repeat(`{"digest":"sha256:l"},`, layers), ",")+`]}`)
	write("blobs/sha256/l", "the layer")
	return dir
}

func TestDocker(t *testing.T) {
	d, socket := serveDocker(t)
	one := newDocker(socket)
	if err := one.prepare(context.Background(), layout(t, 1)); err != nil {
		t.Fatal(err)
	}
	if d.bodies["POST /images/create"] != "the layer" || one.version != "1.2" {
		t.Errorf("imported %q into %q", d.bodies["POST /images/create"], one.version)
	}
	d.asked = nil
	s, err := one.load(context.Background())
	if err != nil || s.took <= 0 || s.cpu >= 0 {
		t.Errorf("%+v, %v", s, err)
	}
	want := "POST /containers/create,POST /containers/c1/start,POST /containers/c1/wait,DELETE /containers/c1"
	if got := strings.Join(d.asked, ","); got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	var made struct {
		Image      string
		HostConfig struct{ Runtime, NetworkMode string }
	}
	if err := json.Unmarshal([]byte(d.bodies["POST /containers/create"]), &made); err != nil || made.HostConfig.Runtime != "runsc" || made.HostConfig.NetworkMode != "none" {
		t.Errorf("%+v, %v", made, err)
	}
	d.exit, d.asked = 3, nil
	if _, err := one.load(context.Background()); err == nil {
		t.Error("a container that failed is a sample")
	}
	if last := d.asked[len(d.asked)-1]; last != "DELETE /containers/c1" {
		t.Errorf("after a failure the last call is %s", last)
	}
}

// TestDockerAbsent: whatever keeps Docker from being measured is said, and is no failure of the
// bench.
func TestDockerAbsent(t *testing.T) {
	d, socket := serveDocker(t)
	for name, c := range map[string]struct {
		socket, info string
		layers       int
		says         string
	}{
		"unset":     {"", d.info, 1, dockerVariable},
		"no answer": {"/nonexistent", d.info, 1, "/nonexistent"},
		"no runsc":  {socket, `{"Runtimes":{"runc":{}}}`, 1, "runtime runsc"},
		"layers":    {socket, d.info, 2, "2 layers"},
	} {
		t.Setenv(dockerVariable, c.socket)
		d.info = c.info
		b := &bench{absent: map[string]string{}}
		b.opt.Images = layout(t, c.layers)
		if b.setUpDocker(context.Background()) != nil || !strings.Contains(b.absent["docker-runsc"], c.says) {
			t.Errorf("%s: %q", name, b.absent["docker-runsc"])
		}
		d.info = `{"Runtimes":{"runsc":{}}}`
	}
}
