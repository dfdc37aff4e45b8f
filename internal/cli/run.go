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

// maxFile bounds what is read from a file or stdin to be sent; the daemon's own caps are lower.
const maxFile = 100 << 20

// run is tsubo run.
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
	answer, err := daemon.Execute(c.Context, r)
	if err != nil {
		return err
	}
	artifacts := answer.Artifacts
	if err := t.print(c.Bool("json"), answer); err != nil {
		return err
	}
	if dir != nil {
		if err := t.save(dir, artifacts, answer); err != nil {
			return err
		}
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

// input is the input data that an option names: JSON as it is, or a file that holds it.
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

// print writes the result, or what the program wrote. What ended the program otherwise than by itself is said on stderr.
func (t *tool) print(asJSON bool, a *job.ExecuteAnswer) error {
	if asJSON {
		shown := *a
		shown.Artifacts = make([]job.ArtifactAnswer, len(a.Artifacts))
		for i, f := range a.Artifacts {
			f.Data = nil // it goes to --output-dir
			shown.Artifacts[i] = f
		}
		e := json.NewEncoder(t.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(shown)
	}
	if _, err := io.WriteString(t.out, a.Stdout); err != nil {
		return fmt.Errorf("write stdout: %w", err)
	}
	if _, err := io.WriteString(t.err, a.Stderr); err != nil {
		return fmt.Errorf("write stderr: %w", err)
	}
	byItself := a.Status == job.Succeeded || a.Status == job.Failed && a.ExitCode != nil && *a.ExitCode >= 0 &&
		(a.ErrorType == nil || *a.ErrorType != job.ErrPIDsLimit)
	if !byItself && a.Error != nil {
		fmt.Fprintf(t.err, "tsubo: %s\n", *a.Error)
	}
	return nil
}

// exitStatus is the program's, or exitFailed when there is none.
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

// save writes the artifacts into dir under their own names, each a new file; every one is tried.
func (t *tool) save(dir *os.Root, artifacts []job.ArtifactAnswer, a *job.ExecuteAnswer) error {
	var failed []error
	for _, f := range artifacts {
		if err := saveOne(dir, f); err != nil {
			failed = append(failed, fmt.Errorf("artifact %.80q: %w", f.Name, err))
		}
	}
	for _, s := range a.ArtifactsSkipped {
		fmt.Fprintf(t.err, "tsubo: %.80q in /output was not kept: %s\n", s.Name, s.Reason)
	}
	if a.OutputError != nil {
		fmt.Fprintf(t.err, "tsubo: %s\n", *a.OutputError)
	}
	if a.ArtifactsNote != nil {
		fmt.Fprintf(t.err, "tsubo: artifacts: %s\n", *a.ArtifactsNote)
	}
	return errors.Join(failed...)
}

// saveOne trusts neither the name nor the bytes: both were chosen by the program that ran.
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
