package guest

import (
	"errors"
	"slices"
	"syscall"
	"unsafe"

	"github.com/tsubo-run/tsubo/frames"
)

const (
	resultName = "result.json"
	// Exit waits in the writer's buffer for a small collection, so that a small job ends in a
	// single write. It never waits for more than this, because the daemon lifts the CPU limit on
	// Exit.
	queueBytes   = 64 << 10
	queueEntries = 32
)

// collect sends the entries at the top of /output, then Done. All other processes are dead, but a
// stopped process may have arranged to be woken, so links are never followed. Names are opened
// beneath the directory, links and special files are not opened, and an opened file is checked
// before it is read. result.json comes first, however many entries there are. The others follow in
// byte order.
func (g *guest) collect() *failure {
	done := g.done()
	dir, err := syscall.Open(outputDir,
		syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fail(frames.StageCollect, "open "+outputDir, err)
	}
	names, more, err := list(dir, int(min(g.spec.Caps.Artifacts, 1<<20)))
	if err != nil {
		return fail(frames.StageCollect, "list "+outputDir, err)
	}
	done.More = more
	slices.Sort(names)
	if i, found := slices.BinarySearch(names, resultName); found {
		names = slices.Delete(names, i, i+1)
	}
	c := collector{g: g, dir: dir, left: g.spec.Caps.ArtifactsTotal}
	if f := c.entry(resultName, true); f != nil {
		return f
	}
	for i, name := range names {
		if i%queueEntries == queueEntries-1 && g.out.Flush() != nil {
			return closed
		}
		if f := c.entry(name, false); f != nil {
			return f
		}
	}
	if c.full {
		done.Note = "the total size of artifacts was reached"
	}
	if g.out.Send(done) != nil {
		return closed
	}
	closeFD(&dir)
	return nil
}

// done returns the Done frame without notes about artifacts.
func (g *guest) done() frames.Done {
	tail := g.pump.err.tail
	return frames.Done{
		StdoutTotal: g.pump.out.total,
		StderrTotal: g.pump.err.total,
		StderrTail:  string(tail[max(0, len(tail)-frames.MaxTail):]),
	}
}

// list returns at most limit names of the directory, unsorted, and whether there are more. It never
// holds more than these names and a batch of entries.
func list(dir, limit int) (names []string, more bool, err error) {
	buf := make([]byte, 32<<10)
	for {
		n, err := syscall.ReadDirent(dir, buf)
		if again(err) {
			continue
		}
		if err != nil || n <= 0 {
			return names, false, err
		}
		for b := buf[:n]; len(b) > 0; {
			const header = int(unsafe.Offsetof(syscall.Dirent{}.Name))
			if len(b) < header {
				return names, false, syscall.EIO
			}
			const at = int(unsafe.Offsetof(syscall.Dirent{}.Reclen))
			reclen := int(b[at]) | int(b[at+1])<<8 // both architectures are little-endian
			if reclen < header || reclen > len(b) {
				return names, false, syscall.EIO
			}
			name := b[header:reclen]
			if i := slices.Index(name, 0); i >= 0 {
				name = name[:i]
			}
			b = b[reclen:]
			if !frames.CheckName(string(name)) {
				continue // "." and ".."
			}
			if len(names) == limit {
				return names, true, nil
			}
			names = append(names, string(name))
		}
	}
}

// collector sends entries while they fit.
type collector struct {
	g    *guest
	dir  int
	left int64 // bytes left of Caps.ArtifactsTotal
	full bool  // a file did not fit; all later files are skipped
	buf  []byte
}

// entry sends an entry, or the reason for skipping it. A missing entry is no error if optional is
// set.
func (c *collector) entry(name string, optional bool) *failure {
	if name[0] == '.' || slices.Contains([]byte(name), '\\') {
		return c.skip(name, frames.SkipName)
	}
	fd, err := openRegular(c.dir, name)
	if err != nil {
		if optional && errors.Is(err, syscall.ENOENT) {
			return nil
		}
		return c.skip(name, frames.SkipError)
	}
	defer closeFD(&fd.fd)
	switch {
	case fd.reason != 0:
		return c.skip(name, fd.reason)
	case fd.size > c.g.spec.Caps.Artifact:
		return c.skip(name, frames.SkipTooLarge)
	case c.full || fd.size > c.left:
		c.full = true
		return c.skip(name, frames.SkipTotal)
	}
	c.left -= fd.size
	return c.send(fd.fd, name, fd.size)
}

func (c *collector) skip(name string, why frames.Reason) *failure {
	if c.g.out.Queue(frames.Skip{Name: name, Reason: why}) != nil {
		return closed
	}
	return nil
}

func (c *collector) send(fd int, name string, size int64) *failure {
	w := c.g.out
	if size > queueBytes && w.Flush() != nil {
		return closed
	}
	if w.Queue(frames.Artifact{Name: name, Size: size}) != nil {
		return closed
	}
	if want := int(min(size, frames.ContentSize)); want > len(c.buf) {
		c.buf = make([]byte, want)
	}
	left := size
	for left > 0 {
		n, err := readFD(fd, c.buf[:min(left, int64(len(c.buf)))])
		if err != nil || n == 0 {
			break
		}
		left -= int64(n)
		if w.Queue(frames.Content(c.buf[:n])) != nil {
			return closed
		}
	}
	if w.Queue(frames.ArtifactEnd{Complete: left == 0}) != nil {
		return closed
	}
	return nil
}

// opened is a checked entry. It is readable if reason is 0.
type opened struct {
	fd     int
	size   int64
	reason frames.Reason
}

// openRegular opens name in dir if name is a regular file, or else returns the reason to skip it.
// It neither waits for the other end of a fifo nor follows a link.
func openRegular(dir int, name string) (opened, error) {
	o := opened{fd: -1}
	fd, err := syscall.Openat(dir, name,
		syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	switch {
	case err == nil:
	case errors.Is(err, syscall.ELOOP):
		o.reason = frames.SkipSymlink
		return o, nil
	case errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.EOPNOTSUPP): // a socket, a device without a driver
		o.reason = frames.SkipSpecial
		return o, nil
	default:
		return o, err
	}
	o.fd = fd
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		closeFD(&o.fd)
		return o, err
	}
	switch st.Mode & syscall.S_IFMT {
	case syscall.S_IFREG:
		o.size = st.Size
	case syscall.S_IFDIR:
		o.reason = frames.SkipDirectory
	default:
		o.reason = frames.SkipSpecial
	}
	return o, nil
}
