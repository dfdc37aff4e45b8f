package procs

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	p, ok := parseStat(7, []byte("7 (a) b (c)) S 3 7 7 0 -1 4194560 1 2 3 4 10 20 300 4000 20 0 1 0 5 6 7"))
	if want := (Process{PID: 7, Parent: 3, Name: "a) b (c)", CPU: 43300 * time.Millisecond}); !ok || p != want {
		t.Errorf("%+v, %v", p, ok)
	}
	for _, bad := range []string{"", "7", "7 (a", "7 (a) S", "7 (a) S x 7 7 0 -1 4194560 1 2 3 4 10 20 300 4000", "7 (a) S 3 7 7 0 -1 4194560 1 2 3 4 x 20 300 4000"} {
		if p, ok := parseStat(7, []byte(bad)); ok {
			t.Errorf("%q: %+v", bad, p)
		}
	}
}

func TestTree(t *testing.T) {
	all := []Process{{PID: 5, Parent: 4, CPU: 1}, {PID: 1}, {PID: 4, Parent: 2, CPU: 2}, {PID: 2, Parent: 1, CPU: 4}, {PID: 9, Parent: 1, CPU: 8}}
	tree := Tree(all, 2)
	var pids []int
	for _, p := range tree {
		pids = append(pids, p.PID)
	}
	if !slices.Equal(pids, []int{2, 4, 5}) || CPU(tree) != 7 {
		t.Errorf("%v, %v", pids, CPU(tree))
	}
	if len(Tree(all, 77)) != 0 {
		t.Error("a process that is not there has a tree")
	}
}

func TestParseKilobytes(t *testing.T) {
	const text = "Rss:  12 kB\nPss:                 345 kB\nPss_Dirty: 6 kB\n"
	if n, err := parseKilobytes(text, "Pss:"); err != nil || n != 345<<10 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "Pss: many kB\n"} {
		if n, err := parseKilobytes(bad, "Pss:"); err == nil {
			t.Errorf("%q: %d", bad, n)
		}
	}
}

// TestSelf: this process is found, with its own child, arguments and memory.
func TestSelf(t *testing.T) {
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = child.Process.Kill(), child.Wait() })
	all, err := List()
	if err != nil {
		t.Fatal(err)
	}
	tree := Tree(all, os.Getpid())
	if !slices.ContainsFunc(tree, func(p Process) bool { return p.PID == child.Process.Pid }) || len(tree) < 2 {
		t.Errorf("the child is not in %+v", tree)
	}
	if args := Args(os.Getpid()); !slices.Equal(args, os.Args) {
		t.Errorf("arguments %q, want %q", args, os.Args)
	}
	for name, of := range map[string]func(int) (int64, error){"RSS": RSS, "PSS": PSS} {
		if n, err := of(os.Getpid()); err != nil || n < 1<<20 {
			t.Errorf("%s %d, %v", name, n, err)
		}
	}
}
