package cli

import (
	"context"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"unicode"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/job"
)

// watcher prints a program's output while the program runs.
type watcher struct {
	*tool
	quiet    bool   // the output is printed with the result instead
	id       string // ID of the run, once known
	out, err int    // bytes printed per stream
	gap      bool   // some output is missing
}

// watch runs the job and returns its result. If ctx ends, which cancels the job, watch prints the
// job's ID on stderr and returns exit status 130 as the error.
func (w *watcher) watch(ctx context.Context, daemon *client.Client, r client.Request) (*job.ExecuteAnswer, error) {
	for e, err := range ahead(daemon.Watch(ctx, r)) {
		if err != nil {
			if ctx.Err() != nil && w.id != "" {
				w.note("interrupted: the job is cancelled; what it wrote until then: tsubo result %s", w.id)
				return nil, status(exitInterrupted)
			}
			return nil, err
		}
		switch e.Kind {
		case job.EventQueued, job.EventStarted:
			w.id = e.ExecutionID
		case job.EventStdout:
			err = w.write(w.tool.out, &w.out, "stdout", e.Text)
		case job.EventStderr:
			err = w.write(w.tool.err, &w.err, "stderr", e.Text)
		case job.EventGap:
			if w.gap = true; !w.quiet {
				w.note("some of the output is missing here: this terminal was too slow for it; --json has all of it")
			}
		case job.EventResult:
			return e.Answer, w.rest(e.Answer)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the stream of job %s ended without a result", w.id)
}

// ahead reads seq in a goroutine and buffers the events for its reader. The daemon cancels a job
// whose stream is not read, and a pager may pause for any time. The daemon's limits of stdout and
// stderr limit the buffer.
func ahead(seq iter.Seq2[client.Event, error]) iter.Seq2[client.Event, error] {
	type item struct {
		event client.Event
		err   error
	}
	return func(yield func(client.Event, error) bool) {
		var (
			mu     sync.Mutex
			kept   []item
			over   bool
			stop   bool
			change = make(chan struct{}, 1)
		)
		signal := func() {
			select {
			case change <- struct{}{}:
			default:
			}
		}
		go func() {
			for e, err := range seq {
				mu.Lock()
				kept = append(kept, item{e, err})
				enough := stop
				mu.Unlock()
				signal()
				if enough {
					break
				}
			}
			mu.Lock()
			over = true
			mu.Unlock()
			signal()
		}()
		for {
			mu.Lock()
			batch, last := kept, over
			kept = nil
			mu.Unlock()
			for _, i := range batch {
				if !yield(i.event, i.err) {
					mu.Lock()
					stop = true
					mu.Unlock()
					return
				}
			}
			if last {
				return
			}
			if len(batch) == 0 {
				<-change
			}
		}
	}
}

func (w *watcher) write(to io.Writer, printed *int, name, text string) error {
	if w.quiet {
		return nil
	}
	*printed += len(text)
	w.midLine = !strings.HasSuffix(text, "\n") && (name == "stderr" || w.midLine)
	if _, err := io.WriteString(to, text); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// rest prints the part of the result's output that the stream did not deliver.
func (w *watcher) rest(a *job.ExecuteAnswer) error {
	if w.gap {
		return nil
	}
	for _, s := range []struct {
		to      io.Writer
		printed *int
		name    string
		all     string
	}{{w.tool.out, &w.out, "stdout", a.Stdout}, {w.tool.err, &w.err, "stderr", a.Stderr}} {
		if len(s.all) > *s.printed {
			if err := w.write(s.to, s.printed, s.name, s.all[*s.printed:]); err != nil {
				return err
			}
		}
	}
	return nil
}

// note prints a line of tsubo's own on stderr. Text that a program may have chosen is sanitized, so
// that it cannot control the terminal.
func (t *tool) note(format string, args ...any) {
	if t.midLine {
		fmt.Fprintln(t.err)
		t.midLine = false
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, fmt.Sprintf(format, args...))
	fmt.Fprintln(t.err, "tsubo: "+text)
}

// report prints on stderr what the program's output does not show: an abnormal end, cut or skipped
// output and errors of result.json. If left is set, it also prints the files in /output and how to
// keep them.
func (t *tool) report(a *job.ExecuteAnswer, left bool, keeps string) {
	byItself := a.Status == job.Succeeded || a.Status == job.Failed && a.ExitCode != nil && *a.ExitCode >= 0 &&
		(a.ErrorType == nil || *a.ErrorType != job.TypePIDsLimit)
	if !byItself && a.Error != nil {
		t.note("%s", *a.Error)
	}
	t.reportCut("stdout", a.StdoutTruncated)
	t.reportCut("stderr", a.StderrTruncated)
	if a.OutputError != nil {
		t.note("%s", *a.OutputError)
	}
	for _, s := range a.ArtifactsSkipped {
		t.note("%.80q in /output was not kept: %s", s.Name, s.Reason)
	}
	if a.ArtifactsNote != nil {
		t.note("artifacts: %s", *a.ArtifactsNote)
	}
	if left && len(a.Artifacts) > 0 {
		names := make([]string, 0, len(a.Artifacts))
		for _, f := range a.Artifacts[:min(5, len(a.Artifacts))] {
			names = append(names, fmt.Sprintf("%.80q (%d bytes)", f.Name, f.SizeBytes))
		}
		if more := len(a.Artifacts) - len(names); more > 0 {
			names = append(names, fmt.Sprintf("%d more", more))
		}
		t.note("left in /output: %s; %s them", strings.Join(names, ", "), keeps)
	}
}

// reportCut prints that a stream was cut, and how a program can keep more.
func (t *tool) reportCut(name string, cut bool) {
	if cut {
		t.note("%s was cut at the daemon's max_%[1]s_bytes: the rest is lost; raise that, or write to a file in "+
			"/output", name)
	}
}
