package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A disk over dm-log-writes keeps what is written to it, and besides a log of it in which a write
// appears only when a flush after it is done (or when it carried FUA). So the log up to a mark is
// what a disk with a volatile cache may be left with when the power goes at that moment: all that
// was flushed, nothing else.

// logDisk is such a disk: two files of a tmpfs, each behind a loop device, and the device mapper's
// device over them.
type logDisk struct {
	name      string // /dev/mapper/<name>
	data, log string // files
	loops     []string
	made      bool
}

const (
	logDiskMiB = 192
	logLogMiB  = 900
)

func newLogDisk(dir, name string) (d *logDisk, err error) {
	d = &logDisk{name: name, data: filepath.Join(dir, name+".data"), log: filepath.Join(dir, name+".log")}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.remove())
		}
	}()
	for file, mib := range map[string]int64{d.data: logDiskMiB, d.log: logLogMiB} {
		if err := emptyFile(file, mib<<20); err != nil {
			return d, err
		}
	}
	for _, file := range []string{d.data, d.log} {
		out, err := command("losetup", "--find", "--show", file)
		if err != nil {
			return d, err
		}
		d.loops = append(d.loops, strings.TrimSpace(out))
	}
	table := fmt.Sprintf("0 %d log-writes %s %s", logDiskMiB<<11, d.loops[0], d.loops[1])
	if _, err = command("dmsetup", "create", name, "--table", table); err != nil {
		return d, err
	}
	d.made = true
	_, err = command("dmsetup", "mknodes", name) // where no udev does it
	return d, err
}

func (d *logDisk) device() string { return "/dev/mapper/" + d.name }

// finish takes the device apart; the log is then complete.
func (d *logDisk) finish() error {
	_, err := command("dmsetup", "remove", "--retry", d.name)
	d.made = err != nil
	return errors.Join(err, d.detach())
}

func (d *logDisk) detach() error {
	var errs []error
	for _, l := range d.loops {
		_, err := command("losetup", "--detach", l)
		errs = append(errs, err)
	}
	d.loops = nil
	return errors.Join(errs...)
}

// remove removes everything, finished or not.
func (d *logDisk) remove() error {
	var errs []error
	if d.made {
		errs = append(errs, d.finish())
	}
	return errors.Join(append(errs, d.detach(), os.RemoveAll(d.data), os.RemoveAll(d.log))...)
}

func emptyFile(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

func command(name string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, args...), " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), err
}

// logMark puts a mark into the log of device name, after all writes that were flushed by now.
func logMark(name, text string) error {
	control, err := unix.Open("/dev/mapper/control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the device mapper: %w", err)
	}
	defer func() { _ = unix.Close(control) }()
	type request struct {
		unix.DmIoctl
		sector  uint64
		message [64]byte
	}
	var r request
	r.Version = [3]uint32{4, 0, 0}
	r.Data_size = uint32(unsafe.Sizeof(r))
	r.Data_start = uint32(unsafe.Offsetof(r.sector))
	copy(r.Name[:len(r.Name)-1], name)
	copy(r.message[:len(r.message)-1], "mark "+text)
	//nolint:gosec // an ioctl takes an address
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(control), unix.DM_TARGET_MSG, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return fmt.Errorf("mark %s: %w", text, errno)
	}
	return nil
}

// Layout of the log, drivers/md/dm-log-writes.c: a superblock, then entries of one sector each,
// followed by their data.
const (
	logMagic    = 0x6a736677736872
	flagDiscard = 1 << 2
	flagMark    = 1 << 3
)

// replay writes to the file at target, which is all zero, what the log has up to the mark.
func (d *logDisk) replay(target, mark string) (err error) {
	log, err := os.Open(d.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	to, err := os.OpenFile(target, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	head := make([]byte, 32)
	if _, err := log.ReadAt(head, 0); err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	if magic := binary.LittleEndian.Uint64(head); magic != logMagic {
		return fmt.Errorf("no log of dm-log-writes: magic %x", magic)
	}
	entries, size := binary.LittleEndian.Uint64(head[16:]), int64(binary.LittleEndian.Uint32(head[24:]))
	sector := make([]byte, size)
	at := size
	for i := range entries {
		if _, err := log.ReadAt(sector, at); err != nil {
			return fmt.Errorf("read entry %d of the log: %w", i, err)
		}
		at += size
		where, count := int64(binary.LittleEndian.Uint64(sector)), int64(binary.LittleEndian.Uint64(sector[8:]))
		flags, length := binary.LittleEndian.Uint64(sector[16:]), binary.LittleEndian.Uint64(sector[24:])
		if flags&flagMark != 0 && length < uint64(size)-32 && string(sector[32:32+length]) == mark {
			return nil
		}
		if flags&flagDiscard != 0 || count == 0 {
			continue // what a discard leaves is anybody's guess: the old bytes are one
		}
		if _, err := io.Copy(io.NewOffsetWriter(to, where*size), io.NewSectionReader(log, at, count*size)); err != nil {
			return fmt.Errorf("replay entry %d of the log: %w", i, err)
		}
		at += count * size
	}
	return fmt.Errorf("the log has no mark %s in its %d entries", mark, entries)
}
