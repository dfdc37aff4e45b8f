package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/job"
)

// jobCommands returns the commands for queued jobs.
func (t *tool) jobCommands(socket cli.Flag) []*cli.Command {
	asJSON := &cli.BoolFlag{Name: "json", Usage: "print what the daemon answers, as JSON"}
	labels := &cli.StringSliceFlag{Name: "label", Usage: "`NAME=VALUE`; may come more than once"}
	return []*cli.Command{
		{
			Name: "submit", Usage: "put a program into the queue and print the job's id", ArgsUsage: programUsage,
			Description: programHelp,
			Flags: append(programFlags(),
				socket, labels,
				&cli.StringFlag{Name: "key", Usage: "idempotency `KEY`: the same submission again gives the same job"},
			),
			Action: t.submit,
		},
		{Name: "status", Usage: "report the state of a job", ArgsUsage: "ID", Flags: []cli.Flag{socket, asJSON},
			Action: t.jobStatus},
		{Name: "result", Usage: "wait for a job and exit with its program's status", ArgsUsage: "ID",
			Flags: []cli.Flag{socket, asJSON}, Action: t.jobResult},
		{
			Name: "logs", Usage: "print what a job has written, or writes", ArgsUsage: "ID",
			Flags: []cli.Flag{socket,
				&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "follow the output until the job ends"}},
			Action: t.logs,
		},
		{Name: "cancel", Usage: "end a job now", ArgsUsage: "ID", Flags: []cli.Flag{socket}, Action: t.cancel},
		{
			Name: "list", Usage: "list what was run, newest first",
			Flags: []cli.Flag{
				socket, labels, asJSON,
				&cli.StringFlag{Name: "status", Usage: "only those in this `STATUS`"},
				&cli.StringFlag{Name: "job-type", Usage: "only those of this job type"},
				&cli.IntFlag{Name: "limit", Usage: "at most `N`", Value: 20},
			},
			Action: t.list,
		},
	}
}

// submit implements tsubo submit.
func (t *tool) submit(c *cli.Context) error {
	r, err := t.request(c)
	if err != nil {
		return err
	}
	r.IdempotencyKey = c.String("key")
	if r.Metadata, err = labelled(c); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	answer, err := daemon.Submit(c.Context, r)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(t.out, answer.JobID)
	return err
}

func labelled(c *cli.Context) (map[string]string, error) {
	var labels map[string]string
	for _, l := range c.StringSlice("label") {
		name, value, ok := strings.Cut(l, "=")
		if !ok {
			return nil, fmt.Errorf("--label %q is no NAME=VALUE", l)
		}
		if labels == nil {
			labels = map[string]string{}
		}
		labels[name] = value
	}
	return labels, nil
}

// jobStatus implements tsubo status ID.
func (t *tool) jobStatus(c *cli.Context) error {
	if err := arguments(c, 1); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	answer, err := daemon.Status(c.Context, c.Args().First())
	switch {
	case err != nil:
		return err
	case c.Bool("json"):
		return t.encode(answer)
	case answer.QueuePosition != nil:
		_, err = fmt.Fprintf(t.out, "%s, place %d in the queue\n", answer.Status, *answer.QueuePosition)
	default:
		_, err = fmt.Fprintln(t.out, answer.Status)
	}
	return err
}

// jobResult implements tsubo result ID.
func (t *tool) jobResult(c *cli.Context) error {
	if err := arguments(c, 1); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	r, err := daemon.Result(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = t.encode(r)
	} else {
		err = t.print(asAnswer(r))
	}
	if err != nil {
		return err
	}
	if code := exitStatus(asAnswer(r)); code != 0 {
		return status(code)
	}
	return nil
}

// print writes the program's output, stdout before stderr.
func (t *tool) print(a *job.ExecuteAnswer) error {
	w := &watcher{tool: t}
	if err := w.rest(a); err != nil {
		return err
	}
	t.report(a, false, "")
	return nil
}

// asAnswer converts a record to the response of a run.
func asAnswer(r *job.FullAnswer) *job.ExecuteAnswer {
	a := &job.ExecuteAnswer{
		Status: r.Status, Stdout: r.Stdout, Stderr: r.Stderr, ExitCode: r.ExitCode, StdoutTruncated: r.StdoutTruncated,
		StderrTruncated: r.StderrTruncated,
		OutputError:     r.OutputError, ArtifactsSkipped: r.ArtifactsSkipped, ArtifactsNote: r.ArtifactsNote,
	}
	if r.Error != nil {
		a.Error, a.ErrorType = &r.Error.Message, &r.Error.Type
	}
	return a
}

// logs implements tsubo logs ID. It prints the output of an ended job, or, with --follow, follows a
// running job to its end.
func (t *tool) logs(c *cli.Context) error {
	if err := arguments(c, 1); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	id := c.Args().First()
	if !c.Bool("follow") {
		where, err := daemon.Status(c.Context, id)
		if err != nil {
			return err
		}
		if !where.Status.Terminal() {
			return fmt.Errorf("the job is %s: watch it with --follow, or wait with tsubo result", where.Status)
		}
	}
	w := &watcher{tool: t}
	for e, err := range daemon.Events(c.Context, id) {
		switch {
		case err != nil:
		case e.Kind == job.EventStdout:
			err = w.write(t.out, &w.out, "stdout", e.Text)
		case e.Kind == job.EventStderr:
			err = w.write(t.err, &w.err, "stderr", e.Text)
		case e.Kind == job.EventGap:
			t.note("some of the output is missing here: tsubo result has all of it")
		case e.Kind == job.EventResult:
			t.reportCut("stdout", e.Record.StdoutTruncated)
			t.reportCut("stderr", e.Record.StderrTruncated)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cancel implements tsubo cancel ID.
func (t *tool) cancel(c *cli.Context) error {
	if err := arguments(c, 1); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	return daemon.Cancel(c.Context, c.Args().First())
}

// list implements tsubo list.
func (t *tool) list(c *cli.Context) error {
	if err := arguments(c, 0); err != nil {
		return err
	}
	labels, err := labelled(c)
	if err != nil {
		return err
	}
	if c.Int("limit") < 1 {
		return errors.New("--limit must be at least 1")
	}
	daemon := connect(c)
	defer daemon.Close()
	page, err := daemon.Executions(c.Context,
		client.Listing{Status: c.String("status"), JobType: c.String("job-type"), Labels: labels,
			Limit: c.Int("limit")})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return t.encode(page)
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tSTATUS\tJOB TYPE\tCREATED\tMS")
	for _, r := range page.Items {
		created, ms := "-", "-"
		if r.CreatedAt != nil {
			created = r.CreatedAt.String()
		}
		if r.DurationMS != nil {
			ms = fmt.Sprint(*r.DurationMS)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ExecutionID, r.Status, r.JobType, created, ms)
	}
	return w.Flush()
}

func (t *tool) encode(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
