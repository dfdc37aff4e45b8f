package limits

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	devices "github.com/opencontainers/cgroups/devices/config"
)

// denyAll is the device filter of a leaf: from joining it on, a sandbox makes not one device check,
// for the guest's devices are the sentry's own. The rule is spelt out, since opencontainers/cgroups
// lets a failure pass in silence when there is none.
var denyAll = []*devices.Rule{{
	Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm", Allow: false,
}}

// readDeviceFilter makes sure that exactly the one filter is attached to the leaf itself.
func readDeviceFilter(d *dir) error {
	r, err := link.QueryPrograms(link.QueryOptions{Target: int(d.f.Fd()), Attach: ebpf.AttachCGroupDevice})
	if err != nil {
		return fmt.Errorf("query device filter: %w", err)
	}
	if len(r.Programs) != 1 {
		return &ReadbackError{File: d.path + " device filters", Want: "1", Got: fmt.Sprint(len(r.Programs))}
	}
	if _, ok := r.Programs[0].LinkID(); ok {
		return errors.New("the device filter of the leaf is somebody else's link")
	}
	return nil
}
