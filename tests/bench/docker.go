package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// dockerVariable names the socket of a dockerd that has runsc as a runtime. The bench starts none.
const dockerVariable = "TSUBO_BENCH_DOCKER"

const dockerImage = "tsubo-bench"

// docker is what `docker run --rm --runtime=runsc` asks of dockerd, without the cost of its command
// line: make a container, start it, wait for its exit. Its removal comes after the clock has
// stopped, as tsubo destroys after it has answered.
type docker struct {
	http    *http.Client
	version string
}

// setUpDocker is nil, with a reason in absent, where there is no dockerd to be measured.
func (b *bench) setUpDocker(ctx context.Context) *docker {
	const row = "docker-runsc"
	socket := os.Getenv(dockerVariable)
	if socket == "" {
		b.absent[row] = dockerVariable + " does not name the socket of a dockerd that has runsc among its runtimes"
		return nil
	}
	d := newDocker(socket)
	err := d.prepare(ctx, b.opt.Images)
	if err != nil {
		b.absent[row] = fmt.Sprintf("dockerd at %s: %v", socket, err)
		return nil
	}
	b.undo = append(b.undo, func() error {
		clean, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return d.call(clean, http.MethodDelete, "/images/"+dockerImage, nil, nil)
	})
	return d
}

func newDocker(socket string) *docker {
	return &docker{http: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: 16,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// prepare asks for the runtime, and imports the image of the other rows, which must be one
// uncompressed or gzipped layer.
func (d *docker) prepare(ctx context.Context, layout string) error {
	var info struct {
		ServerVersion string
		Runtimes      map[string]any
	}
	if err := d.call(ctx, http.MethodGet, "/info", nil, &info); err != nil {
		return err
	}
	if _, ok := info.Runtimes["runsc"]; !ok {
		return errors.New("has no runtime runsc: start it with --add-runtime runsc=/path/to/runsc")
	}
	d.version = info.ServerVersion
	layer, err := onlyLayer(layout)
	if err != nil {
		return err
	}
	f, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer f.Close()
	return d.send(ctx, http.MethodPost, "/images/create?fromSrc=-&repo="+dockerImage, "application/x-tar", f, nil)
}

// onlyLayer is the blob of the one layer of an OCI layout.
func onlyLayer(layout string) (string, error) {
	blob := func(digest string) string {
		return filepath.Join(layout, "blobs", strings.Replace(digest, ":", "/", 1))
	}
	type descriptor struct{ Digest string }
	var index struct{ Manifests []descriptor }
	var manifest struct{ Layers []descriptor }
	if err := readJSON(filepath.Join(layout, "index.json"), &index); err != nil {
		return "", err
	}
	if len(index.Manifests) != 1 {
		return "", fmt.Errorf("the image has %d manifests, want 1", len(index.Manifests))
	}
	if err := readJSON(blob(index.Manifests[0].Digest), &manifest); err != nil {
		return "", err
	}
	if len(manifest.Layers) != 1 {
		return "", fmt.Errorf("the image has %d layers, want 1", len(manifest.Layers))
	}
	return blob(manifest.Layers[0].Digest), nil
}

func readJSON(file string, to any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}

func (d *docker) name() string               { return "docker-runsc" }
func (d *docker) waiting() (int, error)      { return 0, nil }
func (d *docker) cpu() (time.Duration, bool) { return 0, false } // it is spread over processes that are nobody's children here

func (d *docker) once(ctx context.Context) (sample, error) {
	s, err := d.load(ctx)
	pause(ctx, 200*time.Millisecond) // what it clears away in the background
	return s, err
}

// container is the body of a container's creation: the limits and the confinement that a tsubo job
// has, as far as Docker knows them.
func container() map[string]any {
	return map[string]any{
		"Image": dockerImage, "Cmd": append([]string{python}, program...), "User": "1000:1000", "NetworkDisabled": true,
		"HostConfig": map[string]any{
			"Runtime": "runsc", "NetworkMode": "none", "ReadonlyRootfs": true, "Memory": 128 << 20, "NanoCpus": 1e9, "PidsLimit": 100,
			"CapDrop": []string{"ALL"}, "SecurityOpt": []string{"no-new-privileges"}, "LogConfig": map[string]any{"Type": "none"},
			"Tmpfs": map[string]string{"/tmp": "size=64m,noexec", "/output": "size=55m,noexec"},
		},
	}
}

func (d *docker) load(ctx context.Context) (s sample, err error) {
	s = sample{cpu: -1, leaf: -1}
	var made struct{ ID string }
	start := time.Now()
	if err := d.call(ctx, http.MethodPost, "/containers/create", container(), &made); err != nil {
		return s, err
	}
	defer func() {
		err = errors.Join(err, d.call(context.WithoutCancel(ctx), http.MethodDelete, "/containers/"+url.PathEscape(made.ID)+"?force=1", nil, nil))
	}()
	path := "/containers/" + url.PathEscape(made.ID)
	if err := d.call(ctx, http.MethodPost, path+"/start", nil, nil); err != nil {
		return s, err
	}
	var ended struct{ StatusCode int }
	if err := d.call(ctx, http.MethodPost, path+"/wait", nil, &ended); err != nil {
		return s, err
	}
	s.took = time.Since(start)
	if ended.StatusCode != 0 {
		return s, fmt.Errorf("a container ended with %d", ended.StatusCode)
	}
	return s, nil
}

func (d *docker) call(ctx context.Context, method, path string, body, to any) error {
	var data io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		data = bytes.NewReader(encoded)
	}
	return d.send(ctx, method, path, "application/json", data, to)
}

func (d *docker) send(ctx context.Context, method, path, kind string, body io.Reader, to any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	answer, err := d.http.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, bytes.TrimSpace(data))
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(data, to)
}
