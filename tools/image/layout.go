package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// descriptor, manifest, index and config are the parts of the OCI image specification that the
// layout needs, with the specification's names.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type config struct {
	Created string `json:"created"`
	platform
	Config  runConfig `json:"config"`
	RootFS  rootFS    `json:"rootfs"`
	History []history `json:"history"`
}

type runConfig struct {
	User       string   `json:"User"`
	Env        []string `json:"Env"`
	Cmd        []string `json:"Cmd"`
	WorkingDir string   `json:"WorkingDir"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

// writeLayout atomically creates or replaces the layout at out. It returns the manifest's digest
// and the size of all blobs in bytes.
func writeLayout(out, name string, t *tree, debs []deb, gz bool) (digest string, size int64, err error) {
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil { //nolint:gosec // a build directory
		return "", 0, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(out), ".image-")
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	l := &layout{dir: tmp}
	if err := os.MkdirAll(filepath.Join(tmp, "blobs/sha256"), 0o755); err != nil { //nolint:gosec // public content
		return "", 0, err
	}
	layer, diffID, err := l.layer(t, gz)
	if err != nil {
		return "", 0, fmt.Errorf("write the layer: %w", err)
	}
	created := epoch.Format(time.RFC3339)
	plat := platform{Architecture: runtime.GOARCH, OS: "linux"}
	conf, err := l.json("application/vnd.oci.image.config.v1+json", config{
		Created: created, platform: plat,
		Config: runConfig{
			User: "1000:1000", Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"},
			Cmd: []string{flavours[name].cmd}, WorkingDir: "/app",
		},
		RootFS:  rootFS{Type: "layers", DiffIDs: []string{diffID}},
		History: []history{{Created: created, CreatedBy: "tsubo image-" + name}},
	})
	if err != nil {
		return "", 0, fmt.Errorf("write the config: %w", err)
	}
	versions := make([]string, len(debs))
	for i, d := range debs {
		versions[i] = d.name + "=" + d.version
	}
	m, err := l.json("application/vnd.oci.image.manifest.v1+json", manifest{
		SchemaVersion: 2, MediaType: "application/vnd.oci.image.manifest.v1+json", Config: conf,
		Layers: []descriptor{layer},
		Annotations: map[string]string{
			"org.opencontainers.image.title": "tsubo " + name, "org.opencontainers.image.created": created,
			"run.tsubo.debian.packages": strings.Join(versions, " "),
		},
	})
	if err != nil {
		return "", 0, fmt.Errorf("write the manifest: %w", err)
	}
	m.Platform = &plat
	for file, v := range map[string]any{
		"index.json": index{
			SchemaVersion: 2, MediaType: "application/vnd.oci.image.index.v1+json", Manifests: []descriptor{m},
		},
		"oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			return "", 0, err
		}
		//nolint:gosec // public content
		if err := os.WriteFile(filepath.Join(tmp, file), append(data, '\n'), 0o644); err != nil {
			return "", 0, err
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // public content
		return "", 0, err
	}
	if err := os.RemoveAll(out); err != nil {
		return "", 0, err
	}
	if err := os.Rename(tmp, out); err != nil {
		return "", 0, err
	}
	return m.Digest, l.size, nil
}

// layout writes blobs below dir, which the caller owns.
type layout struct {
	dir  string
	size int64
}

// layer writes the tree as a layer and returns its descriptor and the digest of the uncompressed
// tar.
func (l *layout) layer(t *tree, gz bool) (descriptor, string, error) {
	var raw, packed bytes.Buffer
	diff := sha256.New()
	if !gz {
		if err := t.writeTar(io.MultiWriter(&raw, diff)); err != nil {
			return descriptor{}, "", err
		}
		d, err := l.blob("application/vnd.oci.image.layer.v1.tar", raw.Bytes())
		return d, "sha256:" + hex.EncodeToString(diff.Sum(nil)), err
	}
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression) // no name, no time: a zero header
	if err != nil {
		return descriptor{}, "", err
	}
	if err := errors.Join(t.writeTar(io.MultiWriter(w, diff)), w.Close()); err != nil {
		return descriptor{}, "", err
	}
	d, err := l.blob("application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes())
	return d, "sha256:" + hex.EncodeToString(diff.Sum(nil)), err
}

func (l *layout) json(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	return l.blob(mediaType, data)
}

func (l *layout) blob(mediaType string, data []byte) (descriptor, error) {
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:])
	l.size += int64(len(data))
	err := os.WriteFile(filepath.Join(l.dir, "blobs/sha256", name), data, 0o644) //nolint:gosec // public content
	return descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: int64(len(data))}, err
}
