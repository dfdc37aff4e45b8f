package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// Keeping configures retries, queueing times and the retention of records.
type Keeping struct {
	Attempts   int           // maximum of launches per job if tsubo itself fails
	RetryDelay time.Duration // before the second launch; doubled for each further launch
	QueueTTL   time.Duration // maximum wait of an asynchronous job, which then fails; zero means no limit

	RecordTTL  time.Duration
	DLQTTL     time.Duration
	QuotaBytes int64 // limit of a caller's records, oldest removed first; zero means no quota
	TotalBytes int64 // limit of all records; zero means no limit
}

func defaultKeeping() Keeping {
	const day = 24 * time.Hour
	return Keeping{Attempts: 2, RetryDelay: time.Second, RecordTTL: 30 * day, DLQTTL: 30 * day, QuotaBytes: 4 << 30}
}

func (k *Keeping) bind(r *reader) {
	r.integer("max_retry_attempts", &k.Attempts, 1, 10)
	delay := k.RetryDelay.Seconds()
	r.cores("retry_base_delay", &delay, 0.1, 60)
	k.RetryDelay = time.Duration(delay * float64(time.Second))
	if n, ok := r.number("queue_ttl_seconds", 0, 30*86400); ok {
		k.QueueTTL = time.Duration(n) * time.Second
	}
	for _, ttl := range []struct {
		name string
		to   *time.Duration
		most int64
	}{{"execution_record_ttl_days", &k.RecordTTL, 3650}, {"dlq_ttl_days", &k.DLQTTL, 365}} {
		if n, ok := r.number(ttl.name, 1, ttl.most); ok {
			*ttl.to = time.Duration(n) * 24 * time.Hour
		}
	}
	r.bytes("caller_quota_bytes", &k.QuotaBytes, 0, 1<<50)
	r.bytes("store_max_bytes", &k.TotalBytes, 0, 1<<50)
	if k.TotalBytes > 0 && k.QuotaBytes > k.TotalBytes {
		r.fail("caller_quota_bytes", "%d is more than store_max_bytes (%d): lower this, or raise that", k.QuotaBytes,
			k.TotalBytes)
	}
	url := ""
	if r.text("database_url", &url, 1, 4096); url != "" && url != "sqlite" {
		r.fail("database_url",
			"records are kept in an SQLite file below data_dir; a server database is not there yet: take this out")
	}
}

// bindCeilings reads the limits up to which a request may exceed the type's defaults, and the retry
// policy of the type.
func (c *Config) bindCeilings(in *reader, t *job.Type, memory int64, cpu float64) {
	in.memory("max_memory_limit", &t.MaxMemory)
	in.cores("max_cpu_limit", &t.MaxCPU, 0.1, 16)
	if t.MaxMemory != 0 && t.MaxMemory < memory {
		in.fail("max_memory_limit", "%d is less than memory_limit (%d): raise this, or lower that", t.MaxMemory, memory)
	}
	if t.MaxCPU != 0 && t.MaxCPU < cpu {
		in.fail("max_cpu_limit", "is less than cpu_limit: raise this, or lower that")
	}
	if t.MaxMemory > memory && t.MaxMemory+sentryRoom > c.MemoryBudget {
		in.fail("max_memory_limit",
			"%d bytes and %d for the sandbox are more than memory_budget (%d): such a job could never run",
			t.MaxMemory, int64(sentryRoom), c.MemoryBudget)
	}
	in.note("shared_memory", t.Limits.SharedMemory, "0, or a size of %d bytes to a quarter of the memory", job.MiB)
	if t.SharedMemoryFollows = !in.written("shared_memory"); !t.SharedMemoryFollows {
		in.bytes("shared_memory", &t.Limits.SharedMemory, 0, 2<<30)
		if n := t.Limits.SharedMemory; n > 0 && n < job.MiB {
			in.fail("shared_memory",
				"must be 0, for a /dev/shm that cannot be written, or at least %d bytes, such as 64m", job.MiB)
		}
	}
	if t.Limits.SharedMemory > memory/4 {
		in.fail("shared_memory",
			"%d bytes are more than a quarter of memory_limit (%d), which it is charged to: lower this, or raise that",
			t.Limits.SharedMemory, memory)
	}
	in.texts("allowed_environment", &t.AllowEnvironment, 256, job.CheckEnvKey)
	in.boolean("retry_on_interrupt", &t.RetryOnInterrupt)
}

func fieldError(name, message string) error {
	return fmt.Errorf("field %s: %s", name, strings.TrimSpace(message))
}
