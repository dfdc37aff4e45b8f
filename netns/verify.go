package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// checkEmpty returns an error unless the calling thread's namespace contains only lo, down, without
// addresses and routes. It reads proc and uses a Unix socket, because the daemon may be denied
// every other family (RestrictAddressFamilies=AF_UNIX).
func checkEmpty() error {
	const net = "/proc/thread-self/net/"
	for _, c := range []struct {
		file     string
		optional bool // missing where the kernel has no IPv6
		check    func(string) error
	}{
		{"dev", false, checkDev},
		{"fib_trie", false, checkBlank},
		{"route", false, checkRoute},
		{"if_inet6", true, checkBlank},
		{"ipv6_route", true, checkRoute6},
	} {
		b, err := os.ReadFile(net + c.file)
		if c.optional && errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = c.check(string(b))
		}
		if err != nil {
			return fmt.Errorf("verify that the namespace is empty: %s: %w", c.file, err)
		}
	}
	return checkLoopbackDown()
}

// checkDev checks /proc/net/dev: two header lines, then a line per interface.
func checkDev(text string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 || !strings.Contains(lines[1], "|bytes") {
		return fmt.Errorf("%d lines are not a list of interfaces with lo", len(lines))
	}
	for _, line := range lines[2:] {
		name, _, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			return fmt.Errorf("line of %d bytes without an interface", len(line))
		}
		if name != "lo" {
			return fmt.Errorf("interface %s is in every new namespace of this host; if it is a fallback tunnel, set "+
				"sysctl net.core.fb_tunnels_only_for_init_net=2", name)
		}
	}
	return nil
}

func checkBlank(text string) error {
	if strings.TrimSpace(text) != "" {
		return fmt.Errorf("not empty: %d bytes", len(text))
	}
	return nil
}

// checkRoute checks /proc/net/route, which may contain only its header.
func checkRoute(text string) error {
	text = strings.TrimSpace(text)
	if text != "" && (strings.Contains(text, "\n") || !strings.HasPrefix(text, "Iface")) {
		return errors.New("there is a route")
	}
	return nil
}

// rtfReject is the flag of a rejecting route (RTF_REJECT in linux/route.h).
const rtfReject = 0x0200

// checkRoute6 checks /proc/net/ipv6_route. Every namespace has entries there that reject
// everything.
func checkRoute6(text string) error {
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line == "" {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 10 {
			return fmt.Errorf("%d fields in a route: want 10", len(fields))
		}
		flags, err := strconv.ParseUint(fields[8], 16, 32)
		if err != nil {
			return fmt.Errorf("flags of a route: %w", err)
		}
		if flags&rtfReject == 0 || fields[9] != "lo" {
			return fmt.Errorf("there is a route over %s", fields[9])
		}
	}
	return nil
}

func checkLoopbackDown() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("get the state of lo: %w", err)
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
		return fmt.Errorf("get the state of lo: %w", err)
	}
	if r.Uint16()&unix.IFF_UP != 0 {
		return errors.New("lo is up")
	}
	return nil
}
