package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tsubo-run/tsubo/guest/canary"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/seccomp"
)

// CanaryRoot is what the root of a canary holds besides the sandbox's mount points: one directory that anybody may write to, so that
// a refused write proves the read-only root and not the permissions.
const CanaryRoot = "open"

// CanaryError lists the answers that a canary got wrong, each as one sentence.
type CanaryError struct{ Wrong []string }

func (e *CanaryError) Error() string {
	return "the sandbox does not hold: " + strings.Join(e.Wrong, "; ")
}

// Canary boots a sandbox on root and proves each layer by its behaviour: identity, filter, read-only root, empty network, and, where
// there are leaves, that the memory limit strikes. A *CanaryError means that a layer does not hold and nothing may be served; any other error,
// that a sandbox could not even be run, ErrSilent that it did not come to its end, which proves nothing either way.
func (h *Host) Canary(ctx context.Context, root rootfs.Root, l job.Limits) error {
	return h.canary(ctx, l, root, h.Boot)
}

// CanaryWarm is Canary for what is added to an empty sandbox, which goes to the sentry by another way than the command's: after an error
// of either kind no empty sandbox may be used, but others may. ErrNoSentry is not a failure of anything.
func (h *Host) CanaryWarm(ctx context.Context, root rootfs.Root, l job.Limits) error {
	return h.canary(ctx, l, root, func(ctx context.Context, shape Shape) (*Sandbox, error) {
		s, err := h.BootSentry(ctx, SizeOf(l))
		if err != nil {
			return nil, err
		}
		return s.Add(ctx, shape)
	})
}

// ErrSilent says that a canary was ended before it had come to its end, and had reported nothing wrong until then.
var ErrSilent = errors.New("the canary has not come to its end")

// canaryTimeout is some hundred times what a canary takes, and ten times what it takes under emulation.
const canaryTimeout = time.Minute

func deref(n *int64) int64 {
	if n == nil {
		return -1
	}
	return *n
}

func (h *Host) canary(ctx context.Context, l job.Limits, root rootfs.Root, boot func(context.Context, Shape) (*Sandbox, error)) error {
	probes := seccomp.Discriminating()
	args := []string{"report"}
	if h.Leaves != nil {
		args[0] = canary.Bite
	}
	for _, p := range probes {
		words := []string{strconv.FormatUint(uint64(p.Number), 10)}
		for _, a := range p.Args {
			words = append(words, strconv.FormatUint(uint64(a), 10))
		}
		args = append(args, strings.Join(words, ":"))
	}
	s, err := boot(ctx, Shape{
		Root: root, Config: job.ImageConfig{WorkingDir: "/"}, Language: job.Command,
		Command: []string{"/.tsubo/tsubo-init", "canary"}, Limits: l,
	})
	if err != nil {
		return err
	}
	spec := &job.Spec{
		ID: s.id, Language: job.Command, Filename: job.DefaultFilename(job.Command), Args: args, Input: []byte("{}"), Limits: l,
		Timeout: canaryTimeout, StartupTimeout: time.Minute,
	}
	result, err := s.Run(ctx, spec, time.Now(), nil)
	killed := s.oomKilled()
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), destroyBound)
	defer cancel()
	if err := errors.Join(err, s.Destroy(clean)); err != nil {
		return err
	}
	return verdict(result, killed, probes, l, h.Leaves != nil)
}

// verdict is what a canary's result says; killed is whether the kernel ended it for its memory. One that was ended otherwise, by its deadline or
// as one that thrashes, says nothing of its memory limit, and of the rest only what it had reported in full. It is pure.
func verdict(r *job.Result, killed bool, probes []seccomp.Probe, l job.Limits, leaves bool) error {
	silent := r.Status == job.Timeout || r.Status == job.OOM && !killed
	if silent && !strings.Contains(r.Stdout, "\nready\n") {
		return fmt.Errorf("%w: %s (CPU %v ms) after %q", ErrSilent, r.Status, deref(r.Usage.CPUTimeMS), r.Stdout)
	}
	if wrong := judge(r, probes, l, leaves && !silent); len(wrong) > 0 {
		return &CanaryError{Wrong: wrong}
	}
	if silent {
		return fmt.Errorf("%w: %s (CPU %v ms) while it took its memory", ErrSilent, r.Status, deref(r.Usage.CPUTimeMS))
	}
	return nil
}

// judge holds the report against what must be. It is pure.
func judge(r *job.Result, probes []seccomp.Probe, l job.Limits, leaves bool) []string {
	var wrong []string
	got := map[string][]string{}
	for _, line := range strings.Split(r.Stdout, "\n") {
		key, value, _ := strings.Cut(line, " ")
		got[key] = append(got[key], value)
	}
	expect := func(what string, have []string, want ...string) {
		if !slices.Equal(have, want) {
			wrong = append(wrong, fmt.Sprintf("%s is %q, want %q", what, have, want))
		}
	}
	const noCaps = "0000000000000000"
	expect("identity", got["status"], "Uid 1000,1000,1000,1000", "Gid 1000,1000,1000,1000", "Groups ",
		"CapInh "+noCaps, "CapPrm "+noCaps, "CapEff "+noCaps, "CapBnd "+noCaps, "CapAmb "+noCaps, "NoNewPrivs 1", "Seccomp 2")
	calls := make([]string, len(probes))
	for i, p := range probes {
		calls[i] = fmt.Sprintf("%d %d", i, p.Filtered)
	}
	expect("the answer to the calls that the filter refuses", got["call"], calls...)
	expect("a write to the root", got["write"], strconv.Itoa(int(syscall.EROFS)))
	expect("a connection to the outside", got["connect"], strconv.Itoa(int(syscall.ENETUNREACH)))
	expect("the list of network interfaces", got["iface"], "lo")
	expect("the task limit", got["nproc"], strconv.FormatUint(l.Tasks().Hard, 10))
	expect("the end of the report", got["ready"], "")
	if leaves {
		if r.Status != job.OOM {
			wrong = append(wrong, fmt.Sprintf("twice the memory limit ends as %s, want oom", r.Status))
		}
		e := r.Enforced
		if !e.Memory || !e.Swap || !e.CPU || !e.PIDs || !e.Devices {
			wrong = append(wrong, fmt.Sprintf("limits in force are %+v", e))
		}
		expect("a process that outlived its memory limit", got["survived"])
	}
	return wrong
}
