package limits

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups/fscommon"
	"golang.org/x/sys/unix"
)

// maxFile limits what is read from one cgroup file. cgroup.procs of a full leaf is the longest.
const maxFile = 1 << 20

// dir is an open cgroup directory. Files are opened beneath it, without following links or leaving
// the mount, so a name cannot lead elsewhere. The path serves messages and opencontainers/cgroups
// only.
type dir struct {
	f    *os.File
	path string
}

// openMount opens the directory at path, which must be on a cgroup2 mount.
func openMount(path string) (*dir, error) {
	f, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open cgroup directory: %w", err)
	}
	if err := checkMagic(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &dir{f: f, path: path}, nil
}

func checkMagic(f *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("statfs %s: %w", f.Name(), err)
	}
	if st.Type != unix.CGROUP2_SUPER_MAGIC {
		return fmt.Errorf("%s is not on a cgroup2 file system (type %#x)", f.Name(), st.Type)
	}
	return nil
}

// sub opens a directory below d. name may have several elements.
func (d *dir) sub(name string) (*dir, error) {
	f, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &dir{f: f, path: join(d.path, name)}, nil
}

// join builds a path for messages. It does not make a name safe.
func join(dir, name string) string { return path.Join(dir, name) }

func (d *dir) open(name string, flags int) (*os.File, error) {
	fd, err := unix.Openat2(int(d.f.Fd()), name, &unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: join(d.path, name), Err: err}
	}
	return os.NewFile(uintptr(fd), join(d.path, name)), nil
}

// read returns the content of a file without the final newline.
func (d *dir) read(name string) (string, error) {
	f, err := d.open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(string(b), "\n"), nil
}

// has reports whether the file exists.
func (d *dir) has(name string) bool {
	f, err := d.open(name, unix.O_PATH)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

func (d *dir) write(name, value string) error {
	f, err := d.open(name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", value, err)
	}
	return nil
}

// keyed reads a flat keyed file ("key value" lines) and returns the values of the given keys. A
// missing key is an error: an absent counter must not look like zero.
func (d *dir) keyed(name string, keys ...string) ([]uint64, error) {
	text, err := d.read(name)
	if err != nil {
		return nil, err
	}
	return parseKeyed(join(d.path, name), text, keys...)
}

func parseKeyed(path, text string, keys ...string) ([]uint64, error) {
	have := make(map[string]uint64)
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" {
			continue
		}
		k, v, err := fscommon.ParseKeyValue(line)
		if err != nil {
			return nil, fmt.Errorf("parse %s: %w", path, err)
		}
		have[k] = v
	}
	values := make([]uint64, len(keys))
	for i, k := range keys {
		v, ok := have[k]
		if !ok {
			return nil, fmt.Errorf("%s has no key %q", path, k)
		}
		values[i] = v
	}
	return values, nil
}

// procs lists the processes in this cgroup, without its descendants.
func (d *dir) procs() ([]int, error) {
	text, err := d.read("cgroup.procs")
	if err != nil {
		return nil, err
	}
	var pids []int
	for field := range strings.FieldsSeq(text) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("parse %s/cgroup.procs: %w", d.path, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// words reads a file of space-separated names, such as cgroup.controllers.
func (d *dir) words(name string) ([]string, error) {
	text, err := d.read(name)
	if err != nil {
		return nil, err
	}
	return strings.Fields(text), nil
}

// children lists the child cgroups.
func (d *dir) children() ([]string, error) {
	f, err := d.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, fmt.Errorf("list child cgroups: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// mkdir makes a child cgroup and opens it. If the child exists, the error wraps os.ErrExist.
func (d *dir) mkdir(name string) (*dir, error) {
	if err := unix.Mkdirat(int(d.f.Fd()), name, 0o755); err != nil {
		return nil, &os.PathError{Op: "mkdir", Path: join(d.path, name), Err: err}
	}
	c, err := d.sub(name)
	if err != nil {
		return nil, errors.Join(err, d.rmdir(name))
	}
	return c, nil
}

// rmdir removes a child cgroup. A missing child is no error.
func (d *dir) rmdir(name string) error {
	err := unix.Unlinkat(int(d.f.Fd()), name, unix.AT_REMOVEDIR)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return &os.PathError{Op: "rmdir", Path: join(d.path, name), Err: err}
}

// populated reports whether a process is in this cgroup or below it. A removed cgroup is empty.
func (d *dir) populated() (bool, error) {
	v, err := d.keyed("cgroup.events", "populated")
	if gone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return v[0] != 0, nil
}

// gone reports whether err means that the cgroup was removed.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

// sameFile reports whether two open files are the same inode.
func sameFile(a, b *os.File) (bool, error) {
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	if err != nil {
		return false, err
	}
	return os.SameFile(x, y), nil
}

func (d *dir) close() error { return d.f.Close() }
