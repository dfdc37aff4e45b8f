package job

import "testing"

func TestSanitize(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing to hide", "division by zero in /code/main.py", "division by zero in /code/main.py"},
		{"job directory", "open /tmp/job-abc123/code: x", "open /tmp/job-***/code: x"},
		{"macOS temp", "at /var/folders/zz/y/T/x.py end", "at /var/folders/*** end"},
		{"home", "/home/alice/x and /Users/bob/y", "/home/***/x and /home/***/y"},
		{"app", `File "/app/server/main.py", line 3`, `File "/app/***", line 3`},
		{"own state", "open /var/lib/tsubo/jobs/x: no space", "open /var/lib/tsubo/*** no space"},
		{"own run directory", "dial /run/tsubo/tsubo.sock", "dial /run/tsubo/***"},
		{"leaf", "write /sys/fs/cgroup/jobs/a/memory.max", "write /sys/fs/cgroup/***"},
		{"private addresses", "10.1.2.3 172.17.0.2 192.168.0.1 8.8.8.8", "***.***.***.*** ***.***.***.*** ***.***.***.*** 8.8.8.8"},
		{"long id", "id 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.", "id <container-id>."},
		{"digest", "layer sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.", "layer sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef."},
		{"short id", "id 0123456789ab", "id <container-id>"},
		{"a number is no id", "took 123456789012 ns", "took 123456789012 ns"},
		{"a longer word is no id", "0123456789abc", "0123456789abc"},
	} {
		if got := Sanitize(c.in); got != c.want {
			t.Errorf("%s: Sanitize(%q) = %q, want %q", c.name, c.in, got, c.want)
		}
	}
}
