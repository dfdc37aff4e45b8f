package runsc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Runsc is a runsc binary that was found trustworthy, with the directory of its state. Once Root
// and Flags are set, a Runsc is safe for concurrent use.
type Runsc struct {
	Path  string // absolute, without symlinks
	Root  string // --root, set by UseRoot
	Flags Flags

	sentry *Runsc // the binary of the sandbox process, or nil for runsc itself
	owners []uint32
	top    string // the topmost directory that is checked; "/" except in tests

	mu sync.Mutex
	id identity
}

// Flags are the settings that differ between hosts.
type Flags struct {
	// IgnoreCgroups runs sandboxes without a leaf. It is set only in permissive mode, on a host
	// whose cgroups are unusable.
	IgnoreCgroups bool
	// NoSyscallPatching leaves the code of guest programs unpatched, at the price of a signal for
	// each system call. It is needed on an emulated processor. Find sets it.
	NoSyscallPatching bool
}

// identity distinguishes binaries.
type identity struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
	sha256       string
	// young is set if the file changed within a clock tick of the check. The kernel stamps files by
	// its clock tick, so a later change might not move the timestamps.
	young bool
}

// tick is longer than a clock tick of any kernel and than the skew between clocks.
const tick = time.Second

// sameFile reports whether the metadata shows no change. The content is not compared.
func (a identity) sameFile(b identity) bool {
	return !a.young && a.dev == b.dev && a.ino == b.ino && a.size == b.size && a.mtime == b.mtime && a.ctime == b.ctime
}

// ErrChanged reports that the binary is not the file that Find recorded.
var ErrChanged = errors.New("runsc has changed since it was found")

// Find checks the binary at path, which must be absolute, and records its identity. The binary must
// be a regular, executable file that only its owner can write, in directories that only their
// owners can write. The owners must be root or in owners. Sticky directories such as /tmp count as
// writable. Find resolves links in path once. There is no search and no fallback.
func Find(path string, owners ...uint32) (*Runsc, error) { return find(path, "/", owners) }

func find(path, top string, owners []uint32) (*Runsc, error) {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("runsc %q: the path must be absolute", path)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("find runsc: %w", err)
	}
	r := &Runsc{
		Path:   real,
		Flags:  Flags{NoSyscallPatching: Emulated()},
		owners: append([]uint32{0}, owners...),
		top:    top,
	}
	if r.id, err = r.inspect(); err != nil {
		return nil, err
	}
	if r.id.sha256, err = r.hash(); err != nil {
		return nil, err
	}
	return r, nil
}

// inspect applies the rules of [Find] and returns the identity without the hash.
func (r *Runsc) inspect() (identity, error) {
	info, err := os.Lstat(r.Path)
	if err != nil {
		return identity{}, fmt.Errorf("find runsc: %w", err)
	}
	switch {
	case !info.Mode().IsRegular():
		return identity{}, fmt.Errorf("runsc %q: not a regular file", r.Path)
	case info.Mode()&0o100 == 0:
		return identity{}, fmt.Errorf("runsc %q: not executable (chmod 0755)", r.Path)
	case info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0:
		return identity{}, fmt.Errorf("runsc %q: must not be setuid or setgid (chmod 0755)", r.Path)
	}
	st, err := r.owned(r.Path, info)
	if err != nil {
		return identity{}, err
	}
	for dir := filepath.Dir(r.Path); ; dir = filepath.Dir(dir) {
		info, err := os.Lstat(dir)
		if err != nil {
			return identity{}, fmt.Errorf("find runsc: %w", err)
		}
		if !info.IsDir() {
			return identity{}, fmt.Errorf("runsc %q: %q is no longer a directory", r.Path, dir)
		}
		if _, err := r.owned(dir, info); err != nil {
			return identity{}, err
		}
		if dir == r.top || dir == "/" {
			break
		}
	}
	changed := time.Unix(st.Ctim.Unix())
	return identity{
		dev:   st.Dev,
		ino:   st.Ino,
		size:  st.Size,
		mtime: st.Mtim,
		ctime: st.Ctim,
		young: time.Since(changed) < tick,
	}, nil
}

// owned returns an error if another user could replace the file.
func (r *Runsc) owned(path string, info fs.FileInfo) (*syscall.Stat_t, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("runsc: no owner known for %q", path)
	}
	if info.Mode()&0o022 != 0 {
		return nil, fmt.Errorf("runsc: %q is writable by its group or by everybody (mode %v; chmod go-w)", path,
			info.Mode())
	}
	if !slices.Contains(r.owners, st.Uid) {
		return nil, fmt.Errorf("runsc: %q belongs to uid %d (chown root)", path, st.Uid)
	}
	return st, nil
}

func (r *Runsc) hash() (string, error) {
	f, err := os.Open(r.Path)
	if err != nil {
		return "", fmt.Errorf("hash runsc: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hash runsc: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Check repeats the checks of [Find] and [Runsc.UseSentry] and returns [ErrChanged] if the content
// differs. It costs a few stat calls, and reads the binary only if their results have changed. Run
// calls Check.
func (r *Runsc) Check() error {
	if r.sentry != nil {
		if err := r.sentry.Check(); err != nil {
			return err
		}
	}
	now, err := r.inspect()
	if err != nil {
		return errors.Join(ErrChanged, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.id.sameFile(now) {
		return nil
	}
	if now.sha256, err = r.hash(); err != nil {
		return errors.Join(ErrChanged, err)
	}
	if now.sha256 != r.id.sha256 {
		return fmt.Errorf("%w: sha256 %s, was %s (restart tsubod to use it)", ErrChanged, now.sha256, r.id.sha256)
	}
	r.id = now
	return nil
}

// SHA256 returns the hash of the binary as 64 lower-case hex digits.
func (r *Runsc) SHA256() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id.sha256
}

// Version runs the binary and returns its version, such as "release-20260905.0".
func (r *Runsc) Version(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := r.command(ctx, "--version")
	var out, stderr capped
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("get runsc's version: %w%s", err, stderr.suffix())
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	version, ok := strings.CutPrefix(line, "runsc version ")
	if !ok || version == "" || strings.ContainsFunc(version, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", fmt.Errorf("get runsc's version: %q printed %q", r.Path, line)
	}
	return version, nil
}
