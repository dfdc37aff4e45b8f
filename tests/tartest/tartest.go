// Package tartest writes tar archives byte by byte, so that tests can make those that archive/tar
// refuses to write.
package tartest

import (
	"bytes"
	"fmt"
	"strings"
)

// Entry is one tar entry. Fields are written as they are.
type Entry struct {
	Name     string
	Type     byte // '0' regular, '1' hard link, '2' symlink, '3' char, '4' block, '5' directory, '6' FIFO, …; 0 means '0'
	Mode     int64
	UID, GID int64
	Size     int64  // as the header says; -1: the length of Body
	RawSize  string // the size field's 12 bytes, if not ""
	ModTime  int64
	Link     string
	Body     string
	Major    int64
	Minor    int64
	PAX      [][2]string // records of a PAX header before it
	BadSum   bool
}

// File is a regular file, mode 0644.
func File(name, body string) Entry {
	return Entry{Name: name, Type: '0', Mode: 0o644, Size: -1, Body: body}
}

// Dir is a directory, mode 0755.
func Dir(name string) Entry { return Entry{Name: name, Type: '5', Mode: 0o755} }

// Symlink is a symbolic link.
func Symlink(name, target string) Entry {
	return Entry{Name: name, Type: '2', Mode: 0o777, Link: target}
}

// Hardlink is a hard link.
func Hardlink(name, target string) Entry {
	return Entry{Name: name, Type: '1', Mode: 0o644, Link: target}
}

// Archive is entries as a tar stream with its two closing blocks.
func Archive(entries ...Entry) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		e.write(&b)
	}
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

func (e Entry) write(b *bytes.Buffer) {
	pax := e.PAX
	if len(e.Name) > 100 {
		pax = append([][2]string{{"path", e.Name}}, pax...)
		e.Name = e.Name[:100]
	}
	if len(e.Link) > 100 {
		pax = append([][2]string{{"linkpath", e.Link}}, pax...)
		e.Link = e.Link[:100]
	}
	if len(pax) > 0 {
		var records strings.Builder
		for _, kv := range pax {
			records.WriteString(paxRecord(kv[0], kv[1]))
		}
		Entry{Name: "PaxHeaders/0", Type: 'x', Mode: 0o644, Size: -1, Body: records.String()}.write(b)
	}
	h := make([]byte, 512)
	copy(h[0:100], e.Name)
	octal(h[100:108], e.Mode)
	octal(h[108:116], e.UID)
	octal(h[116:124], e.GID)
	size := e.Size
	if size == -1 {
		size = int64(len(e.Body))
	}
	octal(h[124:136], size)
	if e.RawSize != "" {
		copy(h[124:136], e.RawSize)
	}
	octal(h[136:148], e.ModTime)
	h[156] = e.Type
	if e.Type == 0 {
		h[156] = '0'
	}
	copy(h[157:257], e.Link)
	copy(h[257:265], "ustar\x0000")
	octal(h[329:337], e.Major)
	octal(h[337:345], e.Minor)
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	if e.BadSum {
		sum++
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	b.Write(h)
	b.WriteString(e.Body)
	if pad := len(e.Body) % 512; pad != 0 {
		b.Write(make([]byte, 512-pad))
	}
}

func octal(field []byte, v int64) { copy(field, fmt.Sprintf("%0*o\x00", len(field)-1, v)) }

// paxRecord is "length key=value\n", where length counts itself.
func paxRecord(key, value string) string {
	n := len(key) + len(value) + 3
	for size := n + 1; ; size++ {
		if s := fmt.Sprintf("%d %s=%s\n", size, key, value); len(s) == size {
			return s
		}
	}
}
