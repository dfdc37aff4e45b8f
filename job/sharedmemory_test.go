package job

import (
	"errors"
	"testing"
	"time"
)

// A request that lowers the memory must leave room for what its job type promises.
func TestMemoryLimitHoldsSharedMemory(t *testing.T) {
	p := Policy{
		Types:          map[string]Type{"default": {Name: "default", Limits: Limits{Memory: 512 * MiB, CPU: 1, SharedMemory: 100 * MiB}}},
		DefaultTimeout: time.Second, DefaultStartupTimeout: time.Second, MaxTimeout: time.Second, MaxStartupTimeout: time.Second, MaxCodeBytes: 1, MaxInputBytes: 1,
	}
	for memory, fits := range map[int64]bool{0: true, 512 * MiB: true, 400 * MiB: true, 399 * MiB: false, 64 * MiB: false} {
		s, err := p.Spec(&Request{Code: "x", MemoryLimit: memory}, "id", "uid:1")
		var refused *Refusal
		if (err == nil) != fits || err != nil && (!errors.As(err, &refused) || refused.Reason != Invalid) {
			t.Errorf("memory_limit %d: %v", memory, err)
		}
		if err == nil && s.Limits.SharedMemory != 100*MiB {
			t.Errorf("memory_limit %d: shared memory %d", memory, s.Limits.SharedMemory)
		}
	}
}

// Without a word of the operator's the size follows the memory that a request asks for.
func TestSharedMemoryFollows(t *testing.T) {
	p := Policy{
		Types: map[string]Type{"default": {
			Name: "default", Limits: Limits{Memory: 512 * MiB, CPU: 1, SharedMemory: 64 * MiB}, MaxMemory: 1024 * MiB, SharedMemoryFollows: true,
		}},
		DefaultTimeout: time.Second, DefaultStartupTimeout: time.Second, MaxTimeout: time.Second, MaxStartupTimeout: time.Second, MaxCodeBytes: 1, MaxInputBytes: 1,
	}
	for memory, want := range map[int64]int64{0: 64 * MiB, 64 * MiB: 16 * MiB, 200 * MiB: 50 * MiB, 1024 * MiB: 64 * MiB} {
		if s, err := p.Spec(&Request{Code: "x", MemoryLimit: memory}, "id", "uid:1"); err != nil || s.Limits.SharedMemory != want {
			t.Errorf("memory_limit %d: %+v, %v", memory, s, err)
		}
	}
}
