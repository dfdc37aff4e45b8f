package rootfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// tool is the host's mkfs.erofs, or the reason why none is usable.
type tool struct {
	file    *os.File // opened once, so that what was examined is what runs; nil: directory roots
	version string   // "1.5"
	minor   int      // of major 1; 99 for a later major
	why     string   // why directory roots are built; "" when EROFS is
}

var versionRE = regexp.MustCompile(`mkfs\.erofs (?:\(erofs-utils\) )?v?(\d+)\.(\d+)(?:\.\d+)?`)

// findTool looks for a usable mkfs.erofs at path, or on PATH if path is empty. It does not fail: a
// missing, unreadable or known bad tool means directory roots and a reason.
func findTool(ctx context.Context, path string) tool {
	if path == "" {
		path = "mkfs.erofs"
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return tool{why: "mkfs.erofs is not installed (Debian package erofs-utils)"}
	}
	f, err := os.Open(found) //nolint:gosec // the operator's own setting
	if err != nil {
		return tool{why: fmt.Sprintf("mkfs.erofs cannot be opened: %v", errors.Unwrap(err))}
	}
	t := examine(ctx, f)
	if t.why != "" {
		f.Close() //nolint:errcheck,gosec // only read
		return t
	}
	t.file = f
	return t
}

func examine(ctx context.Context, f *os.File) tool {
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
		return tool{why: "mkfs.erofs is not a plain file without setuid and setgid bits"}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", 3), "-V")
	cmd.Args[0] = "mkfs.erofs" // it prints its name as it was called
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = []string{}
	cmd.WaitDelay = time.Second
	out := &tail{max: 4 << 10}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run() // 1.4 and 1.5 know no -V but print their version with the usage
	m := versionRE.FindSubmatch(out.Bytes())
	if m == nil {
		return tool{why: fmt.Sprintf("mkfs.erofs -V does not tell its version (%v)", exitText(err))}
	}
	version := string(bytes.TrimPrefix(bytes.TrimPrefix(m[0], []byte("mkfs.erofs ")), []byte("(erofs-utils) ")))
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	switch {
	case major == 1 && minor == 7:
		return tool{version: version, why: "mkfs.erofs " + version + " is known to write images that do not work; install 1.8 or later, or 1.5"}
	case major == 0 || major == 1 && minor < 4:
		return tool{version: version, why: "mkfs.erofs " + version + " is too old; install 1.4 or later"}
	case major > 1:
		minor = 99
	}
	return tool{version: version, minor: minor}
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// imageEpoch is the superblock's build time. It is later than any time stamp in a tree, because
// mkfs.erofs lowers later stamps. (-T would give every file the same time, and no .pyc file would
// match its source.)
const imageEpoch = 4102444800 // 2100-01-01

// mkfsArgs returns the arguments of mkfs.erofs, run in mkfsRoot. Inline data is off because runsc
// cannot execute such files (EFAULT). Compression is off because runsc cannot read it. Xattrs are
// off because no job needs them.
func (t tool) mkfsArgs() []string {
	args := []string{"mkfs.erofs", "-Enoinline_data", "-x-1", "-U00000000-0000-0000-0000-000000000000"}
	if t.minor >= 5 {
		args = append(args, "--quiet")
	}
	if t.minor >= 6 {
		args = append(args, "-b4096")
	}
	return append(args, "/out/root.erofs", "/tree")
}

func mkfsEnv() []string { return []string{"SOURCE_DATE_EPOCH=" + strconv.Itoa(imageEpoch)} }

// tail keeps the last max bytes written to it.
type tail struct {
	max int
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > t.max {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-t.max:]...)
	}
	return len(p), nil
}

func (t *tail) Bytes() []byte { return t.buf }
