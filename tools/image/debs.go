package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
)

// deb is a package file in the cache.
type deb struct {
	name, version, path string
}

// fetch downloads the newest version of each named package that apt knows into the cache, and
// returns the packages sorted by name. The cache names files by package name, version and
// architecture. apt verifies its downloads, and the cache's files are trusted. fetch needs root
// only if there are no package lists.
func fetch(cache string, names []string) ([]deb, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // public packages
		return nil, err
	}
	files, err := candidates(names)
	if err != nil && os.Geteuid() == 0 {
		if _, uerr := apt("", "update", "-qq"); uerr != nil {
			return nil, errors.Join(err, uerr)
		}
		files, err = candidates(names)
	}
	if err != nil {
		return nil, fmt.Errorf(
			"find the packages (have apt's lists been fetched, with 'apt-get update' as root?): %w", err)
	}
	var debs []deb
	var missing []string
	for _, file := range files {
		part := strings.Split(strings.TrimSuffix(file, ".deb"), "_")
		if len(part) != 3 || filepath.Base(file) != file {
			return nil, fmt.Errorf("parse apt's file name %q", file)
		}
		d := deb{name: part[0], version: strings.ReplaceAll(part[1], "%3a", ":"), path: filepath.Join(cache, file)}
		debs = append(debs, d)
		if fi, err := os.Stat(d.path); err != nil || fi.Size() == 0 {
			missing = append(missing, d.name+"="+d.version)
		}
	}
	sort.Slice(debs, func(i, j int) bool { return debs[i].name < debs[j].name })
	if len(missing) == 0 {
		return debs, nil
	}
	if err := download(cache, missing); err != nil {
		return nil, err
	}
	for _, d := range debs {
		if _, err := os.Stat(d.path); err != nil {
			return nil, fmt.Errorf("download %s %s: %w", d.name, d.version, err)
		}
	}
	return debs, nil
}

// candidates returns apt's download file for each package.
func candidates(names []string) ([]string, error) {
	out, err := apt("", append([]string{"download", "-qq", "--print-uris"}, names...)...)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if f := strings.Fields(line); len(f) >= 3 {
			files = append(files, f[1])
		}
	}
	if len(files) != len(names) {
		return nil, fmt.Errorf("apt returned %d files for %d packages", len(files), len(names))
	}
	return files, nil
}

// download fetches the packages (name=version) next to the cache's files and renames each into
// place, so that several builds can share the cache.
func download(cache string, which []string) (err error) {
	tmp, err := os.MkdirTemp(cache, ".get-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	// As root, apt would switch to a user that cannot write here, and warn. It verifies the same
	// either way.
	if _, err := apt(tmp,
		append([]string{"download", "-qq", "-o", "APT::Sandbox::User=root"}, which...)...); err != nil {
		return fmt.Errorf("download %s: %w", strings.Join(which, " "), err)
	}
	got, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil {
		return err
	}
	for _, path := range got {
		if err := os.Rename(path, filepath.Join(cache, filepath.Base(path))); err != nil {
			return err
		}
	}
	return nil
}

// apt runs apt-get in dir and returns its output.
func apt(dir string, args ...string) (string, error) {
	// Packages that are installed on this machine, perhaps from elsewhere, are no candidates.
	//nolint:gosec // names from the constant list and from apt itself
	cmd := exec.Command("apt-get", append([]string{"-o", "Dir::State::status=/dev/null"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("apt-get %s: %w: %s", args[0], err, tail([]byte(stderr.String())))
	}
	return string(out), nil
}
