package guest

import (
	"errors"
	"strconv"
	"syscall"

	"github.com/tsubo-run/tsubo/frames"
)

// incoming is the file that Data frames belong to.
type incoming struct {
	fd   int
	left int64 // bytes still to come; 0 means that no file is open
	code bool  // whether the file is in /code
}

// load handles files, Run and Stdin until Go or Stop.
func (g *guest) load() *failure {
	fds := []pollFD{{fd: control, events: pollIn}, {fd: -1, events: pollIn}}
	if g.job.pid != 0 {
		fds[1].fd = int32(g.job.pidfd)
	}
	haveRun := false
	for {
		m, err := g.in.Buffered()
		if err != nil {
			return readFailure(err)
		}
		if m == nil {
			if err := poll(fds, -1); err != nil {
				return fail(frames.StageSetup, "poll", err)
			}
			if fds[1].revents != 0 {
				return g.diedEarly() // report a broken sandbox before a job needs it
			}
			if fds[0].revents != 0 {
				if err := g.in.Fill(); err != nil {
					return readFailure(err)
				}
			}
			continue
		}
		if _, ok := m.(frames.Data); !ok && g.file.left > 0 {
			return g.outOfPlace(m)
		}
		switch m := m.(type) {
		case frames.File:
			if haveRun {
				return g.outOfPlace(m)
			}
			if f := g.create(m); f != nil {
				return f
			}
		case frames.Data:
			if f := g.write(m); f != nil {
				return f
			}
		case frames.Run:
			if haveRun || m.Stdin > frames.MaxStdin {
				return g.outOfPlace(m)
			}
			g.spec, haveRun = m, true
			g.stdin = make([]byte, 0, m.Stdin) // growing by append would hold two copies
		case frames.Stdin:
			if int64(len(g.stdin)+len(m)) > g.spec.Stdin {
				return g.outOfPlace(m)
			}
			g.stdin = append(g.stdin, m...)
		case frames.Go:
			if !haveRun || int64(len(g.stdin)) != g.spec.Stdin {
				return g.outOfPlace(m)
			}
			return nil
		case frames.Stop:
			g.stopped = true
			return nil
		default:
			return g.outOfPlace(m)
		}
	}
}

func (g *guest) outOfPlace(m frames.Message) *failure {
	return fail(frames.StageProtocol, "frame of type "+strconv.Itoa(int(m.Type()))+" out of place", nil)
}

// create creates a file that root owns and everybody may read. An existing name, a link included,
// is an error. The job's user cannot write to the directories, so only the daemon chooses their
// names.
func (g *guest) create(m frames.File) *failure {
	dir := g.code
	if m.Dir == frames.DirInput {
		dir = g.input
	}
	parent, name, err := makeParents(dir, m.Name)
	if err != nil {
		return fail(frames.StageFiles, "make a directory", err)
	}
	fd, err := syscall.Openat(parent, name,
		syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, m.Mode)
	if parent != dir {
		closeFD(&parent)
	}
	if err != nil {
		return fail(frames.StageFiles, "create a file", err)
	}
	g.file = incoming{fd: fd, left: m.Size, code: m.Dir == frames.DirCode}
	if m.Size == 0 {
		return g.closeFile()
	}
	return nil
}

// makeParents creates the directories of path below dir and opens the last. parent is dir if path
// has no directories. Otherwise the caller closes parent. name is the last element of path.
func makeParents(dir int, path string) (parent int, name string, err error) {
	parent, name = dir, path
	for i := 0; i < len(name); i++ {
		if name[i] != '/' {
			continue
		}
		next, err := makeDir(parent, name[:i])
		if parent != dir {
			closeFD(&parent)
		}
		if err != nil {
			return -1, "", err
		}
		parent, name, i = next, name[i+1:], -1
	}
	return parent, name, nil
}

// makeDir opens the directory name in dir. It creates a missing directory, which root owns and
// everybody may read. A link or a file of that name is an error.
func makeDir(dir int, name string) (int, error) {
	if err := syscall.Mkdirat(dir, name, 0o755); err != nil && !errors.Is(err, syscall.EEXIST) {
		return -1, err
	}
	return syscall.Openat(dir, name, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
}

func (g *guest) write(m frames.Data) *failure {
	if int64(len(m)) > g.file.left {
		return g.outOfPlace(m)
	}
	if g.file.code {
		whole := int64(len(m)) == g.file.left // pieces are not joined for the check
		g.archive = g.archive || !whole || endsArchive(m)
	}
	if err := writeAll(g.file.fd, m); err != nil {
		return fail(frames.StageFiles, "write a file", err)
	}
	g.file.left -= int64(len(m))
	if g.file.left == 0 {
		return g.closeFile()
	}
	return nil
}

// endsArchive reports whether b contains the signature near the end of every zip archive.
func endsArchive(b []byte) bool { return contains(b, "PK\x05\x06") }

func contains(b []byte, s string) bool {
	for i := 0; i+len(s) <= len(b); i++ {
		if b[i] == s[0] && string(b[i:i+len(s)]) == s {
			return true
		}
	}
	return false
}

func (g *guest) closeFile() *failure {
	err := syscall.Close(g.file.fd)
	g.file.fd = -1
	if err != nil {
		return fail(frames.StageFiles, "close a file", err)
	}
	return nil
}
