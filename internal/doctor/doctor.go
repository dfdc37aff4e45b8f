package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/internal/owned"
	"github.com/tsubo-run/tsubo/limits"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/runsc"
	"github.com/tsubo-run/tsubo/store"
)

// grade is the severity of a finding.
type grade int

const (
	good  grade = iota
	worse       // works, but could be better
	bad         // strict mode does not serve
)

var words = map[grade]string{good: "ok", worse: "warn", bad: "FAIL"}

type finding struct {
	grade grade
	what  string
	says  string
	fix   string
}

// Run writes its findings to w and returns the exit status: 0 if strict mode can serve here, else
// 1.
func Run(ctx context.Context, w io.Writer, cfg *config.Config) int {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute) // checking a large store reads all records
	defer cancel()
	findings := host(cfg)
	findings = append(findings, sentry(ctx, cfg)...)
	findings = append(findings, parts(ctx, cfg)...)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	status := 0
	for _, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", words[f.grade], f.what, f.says)
		if f.fix != "" {
			fmt.Fprintf(table, "\t\t→ %s\n", f.fix)
		}
		if f.grade == bad {
			status = 1
		}
	}
	if err := table.Flush(); err != nil {
		return 1
	}
	if status != 0 {
		fmt.Fprintln(w, "\ntsubod refuses to serve here in strict mode, the default.")
	}
	return status
}

func host(cfg *config.Config) []finding {
	h := limits.Probe(cfg.CgroupParent)
	out := []finding{{good, "kernel", h.Kernel, ""}}
	if os.Geteuid() != 0 {
		out = append(out, finding{worse, "user", "not root: what only root sees is not checked", "run it with sudo"})
	}
	if runsc.Emulated() {
		out = append(out, finding{worse, "processor",
			"emulated by QEMU: programs run many times slower, and their system calls are not patched",
			"a VM with KVM"})
	}
	for _, m := range h.Missing() {
		out = append(out, finding{bad, "limits", "missing: " + m.What, m.Fix})
	}
	if len(h.Missing()) == 0 {
		out = append(out, finding{good, "limits", fmt.Sprintf("cgroup v2 subtree %s with %v", h.Subtree, h.Controllers),
			""})
	}
	if !h.Peak {
		out = append(out, finding{worse, "memory.peak", "not in this kernel: max_rss_mb is null",
			"Linux 5.19 or newer"})
	}
	return out
}

func sentry(ctx context.Context, cfg *config.Config) []finding {
	bin, err := runsc.Find(cfg.RunscPath)
	if err != nil {
		return []finding{{bad, "runsc", err.Error(), "install runsc there, or set runsc_path"}}
	}
	version, err := bin.Version(ctx)
	if err != nil {
		return []finding{{bad, "runsc", fmt.Sprintf("%s does not report its version: %v", bin.Path, err),
			"set runsc_path to a working runsc"}}
	}
	out := []finding{{good, "runsc", bin.Path + " " + version, ""}}
	if runsc.Outdated(version) {
		out[0] = finding{worse, "runsc",
			bin.Path + " " + version + " is older than " + runsc.Pinned + ", with which tsubo is tested", "update it"}
	}
	if want := cfg.RunscSHA256; want != "" && want != bin.SHA256() {
		return append(out, finding{bad, "runsc sha256", bin.SHA256() + " is not runsc_sha256",
			"install the build that was pinned, or change runsc_sha256"})
	}
	return append(out, finding{good, "runsc sha256", bin.SHA256(), ""})
}

func parts(ctx context.Context, cfg *config.Config) []finding {
	var out []finding
	for _, o := range owned.Paths(cfg) {
		if o.Err != nil {
			out = append(out,
				finding{bad, "owner of " + o.Path, o.Err.Error(),
					"make it root's, or set " + o.Field + " to another path"})
		} else {
			out = append(out, finding{good, "owner of " + o.Path, "nobody but root can replace it", ""})
		}
	}
	if _, err := os.Stat(cfg.InitPath); err != nil {
		out = append(out, finding{bad, "tsubo-init", err.Error(), "install it there, or set init_path"})
	} else {
		out = append(out, finding{good, "tsubo-init", cfg.InitPath, ""})
	}
	out = append(out, erofs(ctx, cfg))
	conn, err := net.DialTimeout("unix", cfg.Socket, time.Second)
	if err != nil {
		out = append(out, finding{worse, "tsubod", "does not answer on " + cfg.Socket, "start it: tsubod"})
	} else {
		out = append(out, finding{good, "tsubod", "answers on " + cfg.Socket, ""})
		_ = conn.Close() // nothing was sent
	}
	out = append(out, records(ctx, cfg, err == nil))
	images, _ := filepath.Glob(filepath.Join(cfg.DataDir, "images", "records", "*.json"))
	if len(images) == 0 {
		out = append(out, finding{worse, "images", "none imported", "tsubo images import PATH --name python"})
	} else {
		out = append(out, finding{good, "images", fmt.Sprintf("%d imported", len(images)), ""})
	}
	return out
}

func erofs(ctx context.Context, cfg *config.Config) finding {
	version, kind, why := rootfs.Probe(ctx, cfg.MkfsErofsPath)
	if kind != rootfs.EROFS {
		return finding{worse, "mkfs.erofs", why + ": roots are directories, slower and served by a gofer process",
			"apt-get install erofs-utils"}
	}
	return finding{good, "mkfs.erofs", version, ""}
}

// records runs the full check of the store, in the daemon if it runs, otherwise directly.
func records(ctx context.Context, cfg *config.Config, running bool) finding {
	var problems []string
	var err error
	dir := filepath.Join(cfg.DataDir, "state")
	if running {
		daemon := client.New(cfg.Socket)
		defer daemon.Close()
		problems, err = daemon.Check(ctx)
	} else if _, stat := os.Stat(dir); stat != nil {
		return finding{good, "records", "none yet", ""}
	} else {
		err = checkStore(ctx, dir)
	}
	var refused *client.Error
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusForbidden, errors.Is(err, fs.ErrPermission):
		return finding{worse, "records", "only an admin can check them", "run it with sudo"}
	case err != nil:
		problems = append(problems, err.Error())
	}
	if len(problems) > 0 {
		return finding{bad, "records", strings.Join(problems, "; "),
			"restore a backup: stop tsubod, unpack it into an empty " + dir}
	}
	return finding{good, "records", "every one is whole, and every artifact has its digest", ""}
}

func checkStore(ctx context.Context, dir string) error {
	s, err := store.Open(ctx, store.Config{Dir: dir})
	if err != nil {
		return err
	}
	return errors.Join(s.Check(ctx), s.Close())
}
