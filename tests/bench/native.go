package main

import (
	"context"
	"fmt"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// program is what every row but tsubo's runs; tsubo's get its code, pass, and start the interpreter
// in full.
var program = []string{"-S", "-c", "pass"}

const python = "/usr/bin/python3"

// native is the interpreter of this host, started by this program.
type native struct{ counter }

func (*native) name() string { return "native" }

func (n *native) once(ctx context.Context) (sample, error) { return n.load(ctx) }

func (n *native) load(ctx context.Context) (sample, error) {
	return n.time(exec.CommandContext(ctx, python, program...))
}

// counter times commands, and counts what they have used.
type counter struct{ total atomic.Int64 }

func (c *counter) waiting() (int, error)      { return 0, nil }
func (c *counter) cpu() (time.Duration, bool) { return time.Duration(c.total.Load()), true }

// time runs a command to its end. The kernel counts the CPU of the whole tree of processes that it
// has collected.
func (c *counter) time(cmd *exec.Cmd) (sample, error) {
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if err != nil {
		return sample{}, fmt.Errorf("run %s: %w", cmd.Path, err)
	}
	return sample{took: took, cpu: c.count(cmd), leaf: -1}, nil
}

// count takes over what a command has used that is over.
func (c *counter) count(cmd *exec.Cmd) time.Duration {
	used, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return -1
	}
	cpu := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	c.total.Add(int64(cpu))
	return cpu
}
