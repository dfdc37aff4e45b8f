package guest_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/frames"
	"github.com/tsubo-run/tsubo/tests/guesttest"
)

func TestCollectKeepsRegularFilesAndFollowsNothing(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		r := run(t, o, guesttest.Job{Code: `
import os, socket
os.chdir("/output")
def put(name, data=b"x"):
    with open(name, "wb") as f: f.write(data)
put("result.json", b'{"a": 1}')
put("b.txt", b"b"); put("a.txt", b"a" * 300000); put("empty", b"")
put("secret", b"s"); os.chmod("secret", 0)
put("setuid", b"u"); os.chmod("setuid", 0o4777)
put(".hidden"); put("..x"); put("back\\slash")
for n in (b"new\nline", b"\x1b[2J", b"\xff\xfe", b"-rf", b" ", b"...", b"n" * 255, "\u202e".encode(), b"CON",
    b"%2e%2e%2f"): put(n, b"named")
os.symlink("/etc/passwd", "link"); os.symlink("b.txt", "inside")
os.symlink("nowhere", "dangling"); os.symlink("/", "dirlink")
os.symlink("loop", "loop"); os.symlink("/proc/self/environ", "environ"); os.symlink("/proc/1/root/etc/passwd", "init")
os.mkdir("dir"); put("dir/inner"); os.mkdir("locked"); os.chmod("locked", 0)
os.mkfifo("fifo"); os.mkfifo("fifo2"); os.open("fifo2", os.O_RDWR)
s = socket.socket(socket.AF_UNIX); s.bind("sock")
os.link("b.txt", "hard")
os.chmod("/output", 0)
`})
		if r.Status() != 0 {
			t.Fatalf("%+v", r)
		}
		want := map[string]string{
			"result.json": `{"a": 1}`,
			"a.txt":       strings.Repeat("a", 300000),
			"b.txt":       "b",
			"hard":        "b",
			"empty":       "",
			"secret":      "s",
			"setuid":      "u",
		}
		for _, n := range []string{
			"new\nline", "\x1b[2J", "\xff\xfe", "-rf", " ", strings.Repeat("n", 255), "\u202e", "CON", "%2e%2e%2f",
		} {
			want[n] = "named"
		}
		if !reflect.DeepEqual(r.Artifacts, want) {
			t.Errorf("artifacts:\n%q\nwant\n%q", r.Artifacts, want)
		}
		skipped := map[string]frames.Reason{
			".hidden":     frames.SkipName,
			"..x":         frames.SkipName,
			"...":         frames.SkipName,
			"back\\slash": frames.SkipName,
			"link":        frames.SkipSymlink,
			"inside":      frames.SkipSymlink,
			"dangling":    frames.SkipSymlink,
			"dirlink":     frames.SkipSymlink,
			"loop":        frames.SkipSymlink,
			"environ":     frames.SkipSymlink,
			"init":        frames.SkipSymlink,
			"dir":         frames.SkipDirectory,
			"locked":      frames.SkipDirectory,
			"fifo":        frames.SkipSpecial,
			"fifo2":       frames.SkipSpecial,
			"sock":        frames.SkipSpecial,
		}
		if !reflect.DeepEqual(r.Skipped, skipped) {
			t.Errorf("skipped:\n%v\nwant\n%v", r.Skipped, skipped)
		}
		if r.Order[0] != "result.json" || !slices.IsSorted(r.Order[1:]) {
			t.Errorf("order: %q", r.Order)
		}
		if r.Done.More || r.Done.Note != "" || len(r.Incomplete) != 0 {
			t.Errorf("%+v %v", r.Done, r.Incomplete)
		}
	})
}

func TestResultThatIsNoFile(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		for how, want := range map[string]frames.Reason{
			`os.symlink("/etc/passwd", p)`: frames.SkipSymlink, `os.mkfifo(p)`: frames.SkipSpecial,
			`os.mkdir(p)`: frames.SkipDirectory, `open(p, "w").truncate(3 << 20)`: frames.SkipTooLarge} {
			r := run(t, o, guesttest.Job{Code: "import os\np = '/output/result.json'\n" + how,
				Caps: &frames.Caps{Artifact: 2 << 20, ArtifactsTotal: 8 << 20, Artifacts: 10}})
			if r.Status() != 0 || len(r.Artifacts) != 0 || r.Skipped["result.json"] != want || len(r.Skipped) != 1 {
				t.Errorf("%s: %+v", how, r)
			}
		}
	})
}

func TestCollectCaps(t *testing.T) {
	const code = `
for name, size in FILES:
    with open("/output/" + name, "wb") as f: f.truncate(size)
`
	tests := []struct {
		name    string
		files   string
		caps    frames.Caps
		kept    string
		skipped map[string]frames.Reason
		more    bool
		note    bool
	}{
		{
			"at the cap of one",
			`[("a", 1000), ("b", 1001)]`,
			frames.Caps{Artifact: 1000, ArtifactsTotal: 9999, Artifacts: 9},
			"a",
			map[string]frames.Reason{"b": frames.SkipTooLarge},
			false,
			false,
		},
		{
			"at the cap of all",
			`[("a", 500), ("b", 500)]`,
			frames.Caps{Artifact: 1000, ArtifactsTotal: 1000, Artifacts: 9},
			"a b",
			nil,
			false,
			false,
		},
		{
			"one byte over the cap of all",
			`[("a", 500), ("b", 501), ("c", 1)]`,
			frames.Caps{Artifact: 1000, ArtifactsTotal: 1000, Artifacts: 9},
			"a",
			map[string]frames.Reason{"b": frames.SkipTotal, "c": frames.SkipTotal},
			false,
			true,
		},
		{
			"as many as are looked at",
			`[("a", 1), ("b", 1)]`,
			frames.Caps{Artifact: 10, ArtifactsTotal: 10, Artifacts: 2},
			"a b",
			nil,
			false,
			false,
		},
		{
			"one more",
			`[("a", 1), ("b", 1), ("result.json", 2)]`,
			frames.Caps{Artifact: 10, ArtifactsTotal: 10, Artifacts: 0},
			"result.json",
			nil,
			true,
			false,
		},
		{"sparse", `[("a", 3 << 20)]`, frames.Caps{Artifact: 2 << 20, ArtifactsTotal: 2 << 20, Artifacts: 2}, "",
			map[string]frames.Reason{"a": frames.SkipTooLarge}, false, false},
	}
	here(t, func(t *testing.T, o guesttest.Options) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				r := run(t, o, guesttest.Job{Code: strings.Replace(code, "FILES", tt.files, 1), Caps: &tt.caps})
				var kept []string
				for n := range r.Artifacts {
					kept = append(kept, n)
				}
				slices.Sort(kept)
				if tt.skipped == nil {
					tt.skipped = map[string]frames.Reason{}
				}
				if strings.Join(kept, " ") != tt.kept || !reflect.DeepEqual(r.Skipped, tt.skipped) ||
					r.Done.More != tt.more ||
					(r.Done.Note != "") != tt.note {
					t.Errorf("kept %v, skipped %v, %+v", kept, r.Skipped, r.Done)
				}
			})
		}
	})
}

// However many entries there are, init reads and holds no more than its limit.
func TestCollectManyEntries(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		r := run(t, o, guesttest.Job{Code: `
for i in range(5000): open(f"/output/{i:0200}", "w").close()
open("/output/result.json", "w").write("1")
`, Caps: &frames.Caps{Artifact: 100, ArtifactsTotal: 100, Artifacts: 50}})
		if len(r.Artifacts) < 50 || len(r.Artifacts) > 51 || r.Artifacts["result.json"] != "1" || !r.Done.More {
			t.Errorf("%d artifacts, %+v", len(r.Artifacts), r.Done)
		}
	})
}

// Names are swapped between a file, links and a fifo until the job dies. Only the job's own files
// may be collected.
func TestCollectAfterARace(t *testing.T) {
	kernels(t, func(t *testing.T, o guesttest.Options) {
		for i := range 4 {
			r := run(t, o, guesttest.Job{Code: fmt.Sprintf(`
import os, sys, threading, time
def swap():
    i = 0
    while True:
        i += 1
        p = f"/output/.{i%%4}"
        try:
            [lambda: open(p, "w").write("own"), lambda: os.symlink("/etc/passwd", p),
                lambda: os.mkfifo(p), lambda: os.symlink("/", p)][i %% 4]()
            os.rename(p, "/output/x")
        except OSError: pass
threading.Thread(target=swap, daemon=True).start()
time.sleep(0.05 + %d / 1000)
os._exit(0)
`, i)})
			for name, content := range r.Artifacts {
				if content != "own" && content != "" {
					t.Errorf("artifact %q: %q", name, content)
				}
			}
		}
	})
}
