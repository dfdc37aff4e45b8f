package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/job"
)

// programUsage describes the arguments of the commands that send a program.
const programUsage = "FILE|- [FILE...]"

const programHelp = "A FILE may be a directory, whose program is main.py, main.js, main.mjs or main.cjs. " +
	"Files beside the program keep their paths relative\n" +
	"to it and can be imported; names that begin with a dot and __pycache__ are left out."

// programFlags returns the flags of the commands that send a program.
func programFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "job-type", Usage: "`NAME` of a job type of the daemon (default: its type default)"},
		&cli.StringFlag{Name: "input", Usage: "input data: a JSON object, or the `FILE` that holds one"},
		&cli.StringSliceFlag{Name: "file",
			Usage: "`NAME=PATH` of a file for the program, which reads it as /input/NAME; may come more than once"},
		&cli.Int64Flag{Name: "timeout", Usage: "`SECONDS` that the program may run"},
	}
}

// request builds the request from the command's arguments and programFlags.
func (t *tool) request(c *cli.Context) (r client.Request, err error) {
	if c.NArg() == 0 {
		return r, arguments(c, 1)
	}
	r.JobType = c.String("job-type")
	if c.IsSet("timeout") {
		seconds := c.Int64("timeout")
		r.Timeout = &seconds
	}
	if err := t.readProgram(c.Args().Slice(), &r); err != nil {
		return r, err
	}
	if r.InputData, err = input(c.String("input")); err != nil {
		return r, err
	}
	for _, f := range c.StringSlice("file") {
		name, from, ok := strings.Cut(f, "=")
		if !ok || job.CheckFilePath(name) != nil || from == "" {
			return r, fmt.Errorf("--file %.80q must be NAME=PATH: NAME is a path below /input", f)
		}
		if r.Files == nil {
			r.Files = map[string]client.Data{}
		}
		if _, twice := r.Files[name]; twice {
			return r, fmt.Errorf("--file %.80q: the name is taken by an earlier one", f)
		}
		data, err := t.read(from)
		if err != nil {
			return r, fmt.Errorf("--file: %w", err)
		}
		r.Files[name] = data
	}
	return r, nil
}

// entryPoints lists the names of a directory's program, in order of preference.
var entryPoints = []string{"main.py", "main.js", "main.mjs", "main.cjs"}

// readProgram reads the program and the files beside it. The first argument is the program, or a
// directory that has an entry point. Files of that directory and of the other arguments keep their
// paths relative to the program's directory.
func (t *tool) readProgram(names []string, r *client.Request) error {
	first := names[0]
	dir := filepath.Dir(first)
	if info, err := os.Stat(first); first != "-" && err == nil && info.IsDir() {
		dir = first
		if first, err = entryPoint(dir); err != nil {
			return err
		}
	} else {
		names = names[1:]
	}
	code, err := t.read(first)
	if err != nil {
		return err
	}
	r.Code = string(code)
	if first == "-" && len(names) > 0 {
		return errors.New("a program from standard input has no directory for other files: name its file instead of -")
	}
	p := &program{dir: dir, main: filepath.Clean(first), files: map[string]client.Data{}}
	for _, name := range names {
		if err := p.add(name); err != nil {
			return err
		}
	}
	if len(p.files) > 0 {
		r.CodeFiles = p.files
	}
	// Only Node.js derives the module system from the name. Python needs a second start of the
	// interpreter for a different program name.
	if name, end := filepath.Base(first), filepath.Ext(first); end == ".mjs" || end == ".cjs" ||
		len(p.files) > 0 && slices.Contains([]string{".py", ".js"}, end) {
		r.Filename = name
	}
	return nil
}

// entryPoint returns the only program of a directory.
func entryPoint(dir string) (string, error) {
	var found []string
	for _, name := range entryPoints {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s has no %s: name the program first, then the directory", dir,
			strings.Join(entryPoints, ", "))
	case 1:
		return filepath.Join(dir, found[0]), nil
	}
	return "", fmt.Errorf("%s has %s: name the program first, then the directory", dir, strings.Join(found, " and "))
}

// program collects the files beside a program.
type program struct {
	dir, main string
	files     map[string]client.Data
	size      int
}

// maxProgramFiles limits the files beside a program. The daemon's limit is lower or equal.
const maxProgramFiles = 256

// add reads a file, or everything below a directory except dotfiles and __pycache__.
func (p *program) add(name string) error {
	return filepath.WalkDir(name, func(at string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case at != name && (strings.HasPrefix(e.Name(), ".") || e.Name() == "__pycache__"):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir() || filepath.Clean(at) == p.main:
			return nil
		}
		rel, err := filepath.Rel(p.dir, at)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if rel == ".." || strings.HasPrefix(rel, "../") {
			return fmt.Errorf(
				"%s lies outside the program's directory %s: give the program its data with --file NAME=PATH", at,
				p.dir)
		}
		if err := job.CheckFilePath(rel); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		if info, err := os.Stat(at); err != nil {
			return err
		} else if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", at)
		}
		data, err := (&tool{}).read(at)
		if err != nil {
			return err
		}
		p.files[path.Clean(rel)] = data
		p.size += len(data)
		if len(p.files) > maxProgramFiles {
			return fmt.Errorf("more than %d files beside the program: name those that it needs", maxProgramFiles)
		}
		if p.size > maxFile {
			return fmt.Errorf("the files beside the program have more than %d bytes: name those that it needs", maxFile)
		}
		return nil
	})
}
