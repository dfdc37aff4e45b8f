package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/tsubo-run/tsubo/job"
)

// maxFile limits the bytes read from a file or stdin to be sent. The daemon's limits are lower.
const maxFile = 100 << 20

// run implements tsubo run.
func (t *tool) run(c *cli.Context) error {
	r, err := t.request(c)
	if err != nil {
		return err
	}
	var dir *os.Root
	if name := c.String("output-dir"); name != "" {
		if dir, err = openDir(name); err != nil {
			return err
		}
		defer dir.Close()
		r.Artifacts = job.ArtifactsInline
	}
	daemon := connect(c)
	defer daemon.Close()
	w := &watcher{tool: t, quiet: c.Bool("json")}
	answer, err := w.watch(c.Context, daemon, r)
	if err != nil {
		return err
	}
	artifacts := answer.Artifacts
	if w.quiet {
		shown := *answer
		shown.Artifacts = make([]job.ArtifactAnswer, len(artifacts))
		for i, f := range artifacts {
			f.Data = nil // written to --output-dir instead
			shown.Artifacts[i] = f
		}
		err = t.encode(shown)
	} else {
		t.report(answer, dir == nil, "--output-dir DIR keeps")
	}
	if dir != nil {
		err = errors.Join(err, t.save(dir, artifacts))
	}
	if err != nil {
		return err
	}
	if code := exitStatus(answer); code != 0 {
		return status(code)
	}
	return nil
}

func (t *tool) read(name string) ([]byte, error) {
	from := t.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	data, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the program: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return data, nil
}

// input returns the input data of an option: literal JSON, or the content of a file.
func input(option string) (json.RawMessage, error) {
	if option == "" {
		return nil, nil
	}
	text := []byte(option)
	if !strings.HasPrefix(strings.TrimSpace(option), "{") {
		var err error
		if text, err = (&tool{}).read(strings.TrimPrefix(option, "@")); err != nil {
			return nil, fmt.Errorf("--input: %w", err)
		}
	}
	if text = bytes.TrimSpace(text); !json.Valid(text) || text[0] != '{' {
		return nil, errors.New("--input must be a JSON object, or a file that holds one")
	}
	return text, nil
}

// exitStatus returns the program's exit status, or exitFailed if it has none.
func exitStatus(a *job.ExecuteAnswer) int {
	if a.ExitCode == nil || *a.ExitCode < 0 || *a.ExitCode > 255 {
		return exitFailed
	}
	return *a.ExitCode
}

func openDir(name string) (*os.Root, error) {
	if err := os.MkdirAll(name, 0o755); err != nil { //nolint:gosec // the user's own results
		return nil, fmt.Errorf("--output-dir: %w", err)
	}
	dir, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("--output-dir: %w", err)
	}
	return dir, nil
}

// save writes each artifact into dir as a new file under its own name. It tries all of them and
// joins the errors.
func (t *tool) save(dir *os.Root, artifacts []job.ArtifactAnswer) error {
	var failed []error
	for _, f := range artifacts {
		if err := saveOne(dir, f); err != nil {
			failed = append(failed, fmt.Errorf("artifact %.80q: %w", f.Name, err))
		}
	}
	return errors.Join(failed...)
}

// saveOne trusts neither the name nor the bytes: the program chose both.
func saveOne(dir *os.Root, f job.ArtifactAnswer) (err error) {
	if err := job.CheckFileName(f.Name); err != nil {
		return err
	}
	if strings.HasPrefix(f.Name, ".") {
		return errors.New("the name begins with a dot")
	}
	sum := sha256.Sum256(f.Data)
	if int64(len(f.Data)) != f.SizeBytes || hex.EncodeToString(sum[:]) != f.SHA256 {
		return errors.New("its bytes are not those that the daemon counted")
	}
	file, err := dir.OpenFile(f.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("is there already, and was not overwritten")
	}
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, dir.Remove(f.Name))
		}
	}()
	_, err = file.Write(f.Data)
	return err
}
