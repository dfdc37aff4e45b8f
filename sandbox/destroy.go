package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tsubo-run/tsubo/runsc"
)

// Destroy kills the sandbox's processes and removes its cgroup leaf, runsc state, network namespace
// and bundle from the host. It is idempotent, tries every step and joins the errors, so that a
// recovery may call it blindly. The caller releases the lease of the root afterwards.
func (s *Sandbox) Destroy(ctx context.Context) error {
	var errs []error
	try := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s of sandbox %s: %w", what, s.id, err))
		}
	}
	if s.control != nil {
		try("close the control socket", s.control.Close())
		s.control = nil
	}
	if s.leaf != nil {
		pids, err := s.leaf.Procs()
		try("list the processes", err)
		try("kill the leaf", s.leaf.Kill())
		try("wait for the leaf", s.leaf.Wait(ctx))
		try("reap the processes", runsc.Reap(ctx, pids...))
	} else if len(s.pids) > 0 {
		try("end the processes", s.host.Runsc.KillProcesses(ctx, s.dir, s.pids...))
	}
	try("remove runsc's files", s.host.Runsc.RemoveState(s.id))
	if s.leaf != nil {
		if err := s.leaf.Remove(ctx); err != nil {
			try("remove the leaf", err)
		} else {
			s.leaf = nil
		}
	}
	if s.ns != nil {
		try("close the network namespace", s.ns.Close())
		s.ns = nil
	}
	try("remove the bundle", os.RemoveAll(s.dir))
	return errors.Join(errs...)
}

// Sweep removes what the sandboxes of a crashed daemon left below Dir and in runsc's state. It must
// run before the first Boot. limits.Enter sweeps the leaves; Sweep looks for processes as well,
// because a degraded host has no leaves.
func (h *Host) Sweep(ctx context.Context) error {
	pids, err := h.Runsc.AllProcesses()
	errs := []error{err, h.Runsc.KillProcesses(ctx, "", pids...)}
	ids, err := h.Runsc.Leftovers()
	errs = append(errs, err)
	for _, id := range ids {
		errs = append(errs, h.Runsc.RemoveState(id))
	}
	entries, err := os.ReadDir(h.Dir)
	errs = append(errs, err)
	for _, e := range entries {
		errs = append(errs, os.RemoveAll(filepath.Join(h.Dir, e.Name())))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep after a crash: %w", err)
	}
	return nil
}
