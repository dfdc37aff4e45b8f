// Command leaf measures what the cgroup leaf of a job costs where there are leaves, beside the
// native interpreter of the same machine, one after the other in turn. It prints JSON: the figures
// are for their ratio alone, since the machine is an emulated one. It needs root and cgroup v2.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/limits"
)

// subtree is the cgroup that this program makes and has for itself.
const subtree = "/tsubo-bench-leaf"

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "leaf:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	rounds := 100
	if n, err := strconv.Atoi(os.Getenv("ROUNDS")); err == nil && n > 0 {
		rounds = n
	}
	if !limits.InStage2() {
		entered, err := limits.Enter(ctx, subtree)
		if err != nil {
			return err
		}
		return entered.Exec(os.Args, os.Environ())
	}
	tree, err := limits.Open()
	if err != nil {
		return err
	}
	defer tree.Close()
	took := map[string][]time.Duration{}
	for i := range rounds {
		if err := round(ctx, tree, i, took); err != nil {
			return err
		}
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(figures(took))
}

// size is an ordinary job's.
func size() job.Limits {
	return job.Limits{Memory: 128 * job.MiB, CPU: 1, PIDs: 100, NProc: job.Rlimit{Soft: 50, Hard: 50}}
}

// round measures each step once: a native interpreter, a leaf made ahead, the job's limits set and
// read back at the hand-over, the leaf removed.
func round(ctx context.Context, tree *limits.Tree, i int, took map[string][]time.Duration) error {
	var leaf *limits.Leaf
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{native, func() error { return exec.CommandContext(ctx, "/usr/bin/python3", "-S", "-c", "pass").Run() }},
		{"create_ms", func() (err error) {
			leaf, err = tree.Create(ctx, fmt.Sprintf("bench-%d", i), limits.BootOf(size()))
			return err
		}},
		{apply, func() error { return leaf.Apply(size()) }},
		{"remove_ms", func() error { return leaf.Remove(ctx) }},
	} {
		start := time.Now()
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		took[step.name] = append(took[step.name], time.Since(start))
	}
	return nil
}

const (
	native = "native_ms"
	apply  = "apply_and_read_back_ms"
)

// figures are the medians, and the one ratio that matters: what lies between a job's arrival and
// its code.
func figures(took map[string][]time.Duration) map[string]any {
	p50 := map[string]float64{}
	out := map[string]any{}
	for name, all := range took {
		all = slices.Clone(all)
		slices.Sort(all)
		p50[name] = float64(all[(len(all)-1)/2]) / float64(time.Millisecond)
		out[name] = p50[name]
		out["rounds"] = len(all)
	}
	if p50[native] > 0 {
		out["apply_to_native"] = p50[apply] / p50[native]
	}
	return out
}
