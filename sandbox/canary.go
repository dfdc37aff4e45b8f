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

// CanaryRoot is the only entry of a canary's root besides the sandbox's mount points: a directory
// that every user may write to. A refused write then proves the read-only root, not the
// permissions.
const CanaryRoot = "open"

// CanaryError lists the wrong answers of a canary, each as one sentence.
type CanaryError struct{ Wrong []string }

func (e *CanaryError) Error() string {
	return "the sandbox does not hold: " + strings.Join(e.Wrong, "; ")
}

// Canary boots a sandbox on root and proves each layer by its behavior: identity, seccomp filter,
// read-only root, empty network and, if there are leaves, the memory limit. A [*CanaryError] means
// that a layer failed, so no job may be served. [ErrSilent] means that the canary did not finish,
// which proves nothing. Any other error means that the sandbox could not run.
func (h *Host) Canary(ctx context.Context, root rootfs.Root, l job.Limits) error {
	return h.canary(ctx, l, root, h.Boot)
}

// CanaryWarm is Canary for a container that is added to an empty sandbox, because such a container
// reaches the sentry in another way. After any error empty sandboxes must not be used; other
// sandboxes are not affected. [ErrNoSentry] is not a failure.
func (h *Host) CanaryWarm(ctx context.Context, root rootfs.Root, l job.Limits) error {
	return h.canary(ctx, l, root, func(ctx context.Context, shape Shape) (*Sandbox, error) {
		s, err := h.BootSentry(ctx, SizeOf(l))
		if err != nil {
			return nil, err
		}
		return s.Add(ctx, shape)
	})
}

// ErrSilent reports that a canary was killed before it finished, without a wrong answer until then.
var ErrSilent = errors.New("the canary did not finish")

// canaryTimeout is about a hundred times what a canary takes, and ten times that under emulation.
const canaryTimeout = time.Minute

func deref(n *int64) int64 {
	if n == nil {
		return -1
	}
	return *n
}

func (h *Host) canary(
	ctx context.Context,
	l job.Limits,
	root rootfs.Root,
	boot func(context.Context, Shape) (*Sandbox, error),
) error {
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
		ID: s.id, Language: job.Command, Filename: job.DefaultFilename(job.Command), Args: args, Input: []byte("{}"),
		Limits:  l,
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

// verdict returns the error that a canary's result stands for, or nil. killed reports whether the
// kernel OOM-killed the canary. If the canary timed out or thrashed, its memory limit is unproven
// and only complete report lines count. verdict has no side effects.
func verdict(r *job.Result, killed bool, probes []seccomp.Probe, l job.Limits, leaves bool) error {
	silent := r.Status == job.Timeout || r.Status == job.OOM && !killed
	if silent && !strings.Contains(r.Stdout, "\nready\n") {
		return fmt.Errorf("%w: %s (CPU %v ms) after %q", ErrSilent, r.Status, deref(r.Usage.CPUTimeMS), r.Stdout)
	}
	if wrong := judge(r, probes, l, leaves && !silent); len(wrong) > 0 {
		return &CanaryError{Wrong: wrong}
	}
	if silent {
		return fmt.Errorf("%w: %s (CPU %v ms) while it allocated memory", ErrSilent, r.Status, deref(r.Usage.CPUTimeMS))
	}
	return nil
}

// judge compares the report with the required answers and returns one sentence per difference.
// judge has no side effects.
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
		"CapInh "+noCaps, "CapPrm "+noCaps, "CapEff "+noCaps, "CapBnd "+noCaps, "CapAmb "+noCaps, "NoNewPrivs 1",
		"Seccomp 2")
	calls := make([]string, len(probes))
	for i, p := range probes {
		calls[i] = fmt.Sprintf("%d %d", i, p.Filtered)
	}
	expect("the errno of the calls that the filter refuses", got["call"], calls...)
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
