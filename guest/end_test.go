package guest_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
	"github.com/tsubo-run/tsubo/tests/need"
)

func TestStatus(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		for code, want := range map[string]int{
			"pass":                                0,
			"import sys; sys.exit(255)":           255,
			"import os; os._exit(7)":              7,
			"import os; os.kill(0, 15)":           143,
			"import os; os.abort()":               134,
			"import os; os.kill(os.getpid(), 64)": 192,
			"import os, signal, time; signal.signal(15, signal.SIG_IGN); " +
				"os.fork() or time.sleep(9); os.kill(-1, 15)": 0,
			"import os, time; os.fork() or time.sleep(9); os.kill(-1, 9); os.kill(os.getpid(), 9)": 137,
			"import threading, os, ctypes; threading.Thread(target=lambda: os._exit(9)).start(); " +
				"ctypes.CDLL(None).pthread_exit(None)": 9,
		} {
			if r := run(t, o, guesttest.Job{Code: code}); r.Status() != want {
				t.Errorf("%s: status %d, want %d; %s", code, r.Status(), want, r.Stderr)
			}
		}
	})
}

// The exit of the job's own process ends the job, whatever processes it left and however they hide.
func TestLeftoversAreKilled(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		for end, status := range map[string]int{"os._exit(5)": 5, "": 0} {
			leftovers(t, o, end, status)
		}
	})
}

func leftovers(t *testing.T, o guesttest.Options, end string, status int) {
	start := time.Now()
	r := run(t, o, guesttest.Job{Code: `
import os, signal, sys, time
def daemon(loop):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for s in range(1, 65):
                try: signal.signal(s, signal.SIG_IGN)
                except (OSError, ValueError): pass
            loop()
        os._exit(0)
def spin():
    os.closerange(0, 3)
    while True: open("/output/late", "w").write("x")
def writer():
    while True: os.write(1, b".")
def forker():
    os.closerange(0, 3)
    while True:
        try:
            if os.fork(): os._exit(0)
        except OSError: pass
daemon(spin); daemon(lambda: time.sleep(10000)); daemon(writer); daemon(forker)
daemon(lambda: os.kill(os.getpid(), signal.SIGSTOP))
time.sleep(0.2)
os.write(2, b"end\n")
` + end})
	if r.Status() != status || r.Stderr != "end\n" {
		t.Errorf("%q: status %d, stderr %q, %v", end, r.Status(), r.Stderr, r.Err)
	}
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("%q took %v", end, d)
	}
}

// Orphans are reaped while the job runs: with a limit of 128 processes, 200 start and exit.
func TestOrphansAreReaped(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		out := python(t, o, `
import os, time
made = 0
while made < 200:
    try: pid = os.fork()
    except BlockingIOError:
        time.sleep(0.05); continue
    if pid == 0:
        try: os.fork()
        except OSError: os._exit(1)
        os._exit(0)
    made += os.waitpid(pid, 0)[1] == 0
print(made)
`)
		if out != "200\n" {
			t.Error(out)
		}
	})
}

func TestZombiesOfTheJob(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		out := python(t, o, "import os\nfor _ in range(40):\n    if os.fork() == 0: os._exit(1)\nprint('ok')")
		if out != "ok\n" {
			t.Error(out)
		}
	})
}

func TestStopReportsWhatThereIs(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		for name, then := range map[string]string{
			"sleeping": "time.sleep(1000)",
			"spinning": "\nwhile True: pass",
			"deaf":     "[signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]; time.sleep(1000)",
			"stopped":  "os.kill(os.getpid(), signal.SIGSTOP)",
			"flooding": "\nwhile True: os.write(1, b'y' * 65536)",
		} {
			r := run(t, o, guesttest.Job{
				Code: "import os, signal, sys, time\nopen('/output/part', 'w').write('partial')\n" +
					"os.fork()\nprint('now')\n" + then,
				StopAt: "now",
				Caps:   &frames.Caps{Stdout: 100, Stderr: 100, Artifact: 100, ArtifactsTotal: 100, Artifacts: 10},
			})
			if r.Status() != 137 || !strings.Contains(r.Stdout, "now") || r.Artifacts["part"] != "partial" {
				t.Errorf("%s: %+v", name, r)
			}
		}
	})
}

func TestStopBeforeGo(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		s := guesttest.Boot(t, o)
		s.Send(frames.Stop{})
		if r := s.Collect(guesttest.Job{}, time.Now()); r.Status() != 137 || r.Started || r.Done == nil {
			t.Errorf("%+v", r)
		}
	})
}

func TestStopAfterTheEndMeansNothing(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		s := guesttest.Boot(t, o)
		r := s.Run(guesttest.Job{Code: "pass"})
		s.Send(frames.Stop{}, frames.Stop{})
		if r.Status() != 0 || r.Done == nil {
			t.Errorf("%+v", r)
		}
	})
}

// Closing the daemon's end of the socket ends the sandbox in every state. (The clean-up's Close
// waits for init to exit.)
func TestClosedSocketEndsInit(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		for name, f := range map[string]func(*guesttest.Sandbox){
			"before Boot":  func(*guesttest.Sandbox) {},
			"half a frame": func(s *guesttest.Sandbox) { s.SendRaw("\x00\x00\x00\x09\x01") },
			"parking":      func(s *guesttest.Sandbox) { s.Send(guesttest.BootMessage(o)) },
			"parked": func(s *guesttest.Sandbox) {
				s.Send(guesttest.BootMessage(o))
				_, _ = s.Next()
			},
			"running": func(s *guesttest.Sandbox) {
				s.Send(guesttest.BootMessage(o))
				_, _ = s.Next()
				s.Give(guesttest.Job{Code: "import os\nos.fork()\nprint(1)\nwhile True: pass"})
				s.Send(frames.Go{})
				_, _ = s.Next()
			},
		} {
			t.Run(name, func(t *testing.T) {
				s := guesttest.Start(t, o)
				f(s)
				s.Close()
			})
		}
	})
}

func TestProtocolErrorsEndInit(t *testing.T) {
	caps := frames.Run{Caps: guesttest.Generous}
	file := frames.File{Dir: frames.DirCode, Name: "main.py", Mode: 0o444, Size: 3}
	for name, ms := range map[string][]frames.Message{
		"second Boot": {
			frames.Boot{Version: frames.Version, Language: frames.Python, Cwd: "/", UID: 1, GID: 1},
		},
		"Go without Run":          {frames.Go{}},
		"two Runs":                {caps, caps},
		"Data without File":       {frames.Data("x")},
		"too much Data":           {file, frames.Data("1234")},
		"too little Data":         {file, frames.Data("12"), caps},
		"File after Run":          {caps, file},
		"Stdin without Run":       {frames.Stdin("x")},
		"too much Stdin":          {frames.Run{Stdin: 1, Caps: caps.Caps}, frames.Stdin("xx")},
		"too little Stdin":        {frames.Run{Stdin: 2, Caps: caps.Caps}, frames.Stdin("x"), frames.Go{}},
		"more Stdin than allowed": {frames.Run{Stdin: 1 << 40, Caps: caps.Caps}},
	} {
		t.Run(name, func(t *testing.T) {
			here(t, func(t *testing.T, o guesttest.Options) {
				s := guesttest.Boot(t, o)
				s.Send(ms...)
				if r := s.Collect(guesttest.Job{}, time.Now()); r.Fatal == nil ||
					r.Fatal.Stage != frames.StageProtocol ||
					r.Started {
					t.Errorf("%+v", r)
				}
				if _, err := s.Next(); err != io.EOF {
					t.Errorf("after Fatal: %v", err)
				}
			})
		})
	}
}

func TestFilesAreNewOrFatal(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		for name, ms := range map[string][]frames.Message{
			"twice": {
				frames.File{Dir: frames.DirInput, Name: "x", Mode: 0o644},
				frames.File{Dir: frames.DirInput, Name: "x", Mode: 0o644},
			},
			"file where a folder is": {
				frames.File{Dir: frames.DirCode, Name: "x/y", Mode: 0o644},
				frames.File{Dir: frames.DirCode, Name: "x", Mode: 0o644},
			},
			"folder where a file is": {
				frames.File{Dir: frames.DirCode, Name: "a/x", Mode: 0o644},
				frames.File{Dir: frames.DirCode, Name: "a/x/y", Mode: 0o644},
			},
			// Over RLIMIT_FSIZE, whose signal would kill a less careful init.
			"too large": {frames.File{Dir: frames.DirInput, Name: "x", Size: 2 * guesttest.LimitFSIZE}},
		} {
			s := guesttest.Boot(t, o)
			s.Send(ms...)
			if name == "too large" {
				for range 2 * guesttest.LimitFSIZE / frames.MaxPayload {
					if s.TrySend(make(frames.Data, frames.MaxPayload)) != nil {
						break
					}
				}
			}
			if r := s.Collect(guesttest.Job{}, time.Now()); r.Fatal == nil || r.Fatal.Stage != frames.StageFiles ||
				r.Fatal.Errno == 0 {
				t.Errorf("%s: %+v", name, r)
			}
		}
	})
}

func TestInterpreterThatDoesNotWait(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(dir+"/bin", 0o755)); err != nil {
		t.Fatal(err)
	}
	fake := func(script string, mode os.FileMode) {
		t.Helper()
		_ = os.Remove(dir + "/bin/python3")
		if err := os.WriteFile(dir+"/bin/python3", []byte(script), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, script string
		mode         os.FileMode
		path         string
		message      string
	}{
		{"missing", "", 0o644, "/nowhere:usr/bin:.", "python3 not found in PATH"},
		{"not executable", "", 0o644, "/fake", "python3 not found in PATH"},
		{"not a program", "\x7fELFno", 0o755, "/fake", "start "},
		{"fails", "#!/bin/sh\necho out; echo first >&2; echo 'last \033[2J line' >&2; exit 7\n", 0o755, "/fake",
			"the interpreter ended before it was ready, with exit code 7: last ?[2J line"},
		{"killed", "#!/bin/sh\nkill -9 $$\n", 0o755, "/fake", "with signal 9"},
		{
			"ignores the hook", "#!/bin/sh\nexec /usr/bin/python3 -I \"$@\"\n", 0o755, "/fake",
			"No such file or directory",
		},
		{"says something else", "#!/bin/sh\nprintf x >&3; /bin/sleep 100\n", 0o755, "/fake", "did not wait"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here(t, func(t *testing.T, o guesttest.Options) {
				fake(tt.script, tt.mode)
				o.Binds = []string{dir + "/bin:/fake"}
				o.Env = []string{"PATH=" + tt.path + ":"}
				s := guesttest.Start(t, o)
				s.Send(guesttest.BootMessage(o))
				m, err := s.Next()
				f, ok := m.(frames.Fatal)
				if !ok || f.Stage != frames.StageExec || !strings.Contains(f.Message, tt.message) {
					t.Errorf("%#v, %v", m, err)
				}
			})
		})
	}
}

// A sandbox whose interpreter dies while it waits reports that before a job needs it.
func TestInterpreterThatDiesWaiting(t *testing.T) {
	need.Root(t)
	s := guesttest.Boot(t, guesttest.Options{})
	s.KillJob(t)
	m, err := s.Next()
	if f, ok := m.(frames.Fatal); !ok || f.Stage != frames.StageExec || !strings.Contains(f.Message, "signal 9") {
		t.Errorf("%#v, %v", m, err)
	}
}

func TestCommandThatCannotStart(t *testing.T) {
	here(t, func(t *testing.T, o guesttest.Options) {
		for argv, want := range map[string]string{
			"nonesuch": "nonesuch not found in PATH", "/etc/passwd": "not found", "/usr": "not found",
		} {
			o.Argv = []string{argv}
			s := guesttest.Boot(t, o)
			if r := s.Run(guesttest.Job{}); r.Fatal == nil || r.Fatal.Stage != frames.StageExec ||
				!strings.Contains(r.Fatal.Message, want) {
				t.Errorf("%s: %+v", argv, r)
			}
		}
	})
}
