package guest

import (
	"io"
	"syscall"
)

// socket is a blocking descriptor as an io.Reader and io.Writer. It uses read(2), so no descriptors
// arrive with the bytes.
type socket int

// Read implements io.Reader.
func (s socket) Read(p []byte) (int, error) {
	n, err := readFD(int(s), p)
	if err != nil {
		return 0, err
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements io.Writer.
func (s socket) Write(p []byte) (int, error) {
	if err := writeAll(int(s), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// pair returns a connected pair of stream sockets with close-on-exec set.
func pair() (ours, theirs int, err error) {
	p, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	return p[0], p[1], err
}
