package limits

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	devices "github.com/opencontainers/cgroups/devices/config"
)

// denyAll is the device filter of a leaf. A sandbox makes no device check after it joins the leaf,
// because the guest's devices belong to the sentry. The rule is explicit because
// opencontainers/cgroups ignores a failure when there is no rule.
var denyAll = []*devices.Rule{{
	Type: devices.WildcardDevice, Major: devices.Wildcard, Minor: devices.Wildcard, Permissions: "rwm", Allow: false,
}}

// readDeviceFilter checks that exactly one filter is attached to the leaf itself.
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
