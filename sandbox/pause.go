package sandbox

import (
	"bytes"
	"encoding/binary"
	"io/fs"

	"github.com/tsubo-run/tsubo/rootfs"
)

// EmptyKey names the root of empty sandboxes. It must change whenever [EmptyTree] changes.
const EmptyKey = "empty-1"

// EmptyTree returns the root of an empty sandbox: the mount points of every sandbox, and the
// program that waits in it. A job's container cannot see this root.
func EmptyTree() map[string]rootfs.GuestFile {
	tree := map[string]rootfs.GuestFile{"pause": {Mode: 0o555, Data: pauseProgram()}}
	for name, mode := range rootfs.MountPoints() {
		tree[name] = rootfs.GuestFile{Mode: fs.ModeDir | mode}
	}
	return tree
}

// pauseProgram returns a minimal program: an ELF header, one segment, and an endless loop around
// ppoll(2) without file descriptors. A Go program would cost each empty sandbox megabytes and a
// dozen milliseconds.
func pauseProgram() []byte {
	const (
		base    = 0x400000
		headers = 64 + 56
	)
	size := uint64(headers + len(pauseCode))
	var b bytes.Buffer
	for _, v := range []any{
		// The header.
		[16]byte{0x7f, 'E', 'L', 'F', 2 /* 64 bits */, 1 /* little endian */, 1},
		uint16(2) /* executable */, uint16(pauseMachine), uint32(1), uint64(base + headers) /* entry */, uint64(64),
		uint64(0),
		uint32(0), uint16(64), uint16(56), uint16(1) /* one segment */, uint16(64), uint16(0), uint16(0),
		// The only segment: the whole file, readable and executable.
		uint32(1) /* load */, uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x10000),
		pauseCode,
	} {
		_ = binary.Write(&b, binary.LittleEndian, v) // to memory, of fixed sizes
	}
	return b.Bytes()
}
