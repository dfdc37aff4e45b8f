package netns

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/tests/need"
)

const devHeader = "Inter-|   Receive                                                |  Transmit\n" +
	" face |bytes    packets errs drop fifo frame compressed multicast" +
	"|bytes    packets errs drop fifo colls carrier compressed\n"

const reject6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 " +
	"00000000000000000000000000000000 " +
	"ffffffff 00000001 00000000 00200200       lo\n"

func TestChecksOfProc(t *testing.T) {
	lo := "    lo:       0       0    0    0    0     0          0         0" +
		"        0       0    0    0    0     0       0          0\n"
	for name, c := range map[string]struct {
		check func(string) error
		text  string
		ok    bool
	}{
		"lo only":            {checkDev, devHeader + lo, true},
		"no interface":       {checkDev, devHeader, false},
		"nothing":            {checkDev, "", false},
		"a second interface": {checkDev, devHeader + lo + "  eth0: 0 0\n", false},
		"a fallback tunnel":  {checkDev, devHeader + " tunl0: 0 0\n" + lo, false},
		"garbage":            {checkDev, devHeader + "lo\n", false},
		"blank":              {checkBlank, " \n", true},
		"not blank":          {checkBlank, "Main:\n", false},
		"no route":           {checkRoute, "", true},
		"route header":       {checkRoute, "Iface\tDestination\n", true},
		"a route":            {checkRoute, "Iface\tDestination\nlo\t0000007F\n", false},
		"a route, no header": {checkRoute, "eth0\t00000000\n", false},
		"rejects":            {checkRoute6, reject6 + reject6, true},
		"no rejects":         {checkRoute6, "", true},
		"an IPv6 route":      {checkRoute6, reject6 + strings.Replace(reject6, "00200200", "80200001", 1), false},
		"rejects elsewhere":  {checkRoute6, strings.Replace(reject6, "      lo", "    eth0", 1), false},
		"short line":         {checkRoute6, "0000 00\n", false},
	} {
		if err := c.check(c.text); (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok=%v", name, err, c.ok)
		}
	}
}

// Each change makes an empty namespace non-empty, and checkEmpty alone must detect it.
func TestCheckEmptySeesEachChange(t *testing.T) {
	need.Root(t)
	for name, change := range map[string]func() error{
		"nothing": func() error { return nil },
		"lo up":   loUp,
		"another interface": func() error { // TUNSETIFF creates an interface without netlink
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			r, err := unix.NewIfreq("tsubo0")
			if err != nil {
				return err
			}
			r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			return unix.IoctlIfreq(fd, unix.TUNSETIFF, r) // fd stays open: the interface lives as long
		},
		"an address": func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			r, err := unix.NewIfreq("lo")
			if err != nil {
				return err
			}
			if err := r.SetInet4Addr([]byte{10, 1, 2, 3}); err != nil {
				return err
			}
			return errors.Join(unix.IoctlIfreq(fd, unix.SIOCSIFADDR, r),
				unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, flags(0)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "another interface" {
				_, err := os.Stat("/dev/net/tun")
				need.That(t, "tun", err == nil)
			}
			n, err := New()
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			if err := n.Do(change); err != nil {
				t.Fatal(err)
			}
			err = n.Check()
			if name == "nothing" && err != nil || name != "nothing" && err == nil {
				t.Errorf("Check = %v", err)
			}
		})
	}
}

func flags(up uint16) *unix.Ifreq {
	r, err := unix.NewIfreq("lo")
	if err != nil {
		panic(err)
	}
	r.SetUint16(up)
	return r
}

func loUp() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, flags(unix.IFF_UP))
}
