package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/tsubo-run/tsubo/client"
	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/internal/doctor"
)

// Version is set by the build (-ldflags -X).
var Version = "dev"

const (
	exitFailed      = 125
	exitInterrupted = 130
	exitUnhealthy   = 1
)

// status is an error that carries only an exit status; all messages are already printed.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// tool is a single invocation of tsubo.
type tool struct {
	in       io.Reader
	out, err io.Writer
	midLine  bool // the program's last text on err did not end its line
}

// Main runs tsubo and returns the exit status. args begins with the program's name. SIGINT and
// SIGTERM cancel the command.
func Main(args []string, in io.Reader, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t := &tool{in: in, out: out, err: errOut}
	app := t.app()
	err := app.RunContext(ctx, interleave(app, args))
	var s status
	switch {
	case err == nil:
		return 0
	case errors.As(err, &s):
		return int(s)
	case ctx.Err() != nil:
		fmt.Fprintln(errOut, "tsubo: interrupted")
		return exitInterrupted
	}
	fmt.Fprintf(errOut, "tsubo: %v\n", err)
	var refused *client.Error
	if errors.As(err, &refused) && refused.RetryAfter > 0 {
		fmt.Fprintf(errOut, "tsubo: try again in %s\n", refused.RetryAfter)
	}
	return exitFailed
}

func (t *tool) app() *cli.App {
	socket := &cli.StringFlag{Name: "socket", Usage: "`PATH` of the daemon's socket", EnvVars: []string{"TSUBO_SOCKET"},
		DefaultText: client.DefaultSocket}
	app := &cli.App{
		Name: "tsubo", Usage: "run untrusted programs through tsubod", Version: Version, HideVersion: true,
		HideHelpCommand: true,
		Reader:          t.in, Writer: t.out, ErrWriter: t.err,
		ExitErrHandler: func(*cli.Context, error) {},
		Action:         unknown,
		Commands: []*cli.Command{
			{
				Name: "run", Usage: "run a program and exit with its status", ArgsUsage: programUsage,
				Description: programHelp,
				Flags: append(programFlags(),
					socket,
					&cli.StringFlag{Name: "output-dir",
						Usage: "`DIR` that gets what the program left in /output; nothing in it is overwritten"},
					&cli.BoolFlag{Name: "json",
						Usage: "print the whole result as JSON instead of the program's output"},
				),
				Action: t.run,
			},
			{
				Name: "images", Usage: "the daemon's images", Flags: []cli.Flag{socket}, HideHelpCommand: true,
				Action: unknown,
				Subcommands: []*cli.Command{
					{Name: "list", Usage: "list them", Flags: []cli.Flag{socket}, Action: t.listImages},
					{
						Name:      "import",
						Usage:     "bring an OCI image to the daemon: a layout directory, or an archive of one",
						ArgsUsage: "PATH",
						Flags: []cli.Flag{socket,
							&cli.StringFlag{Name: "name",
								Usage: "`NAME` of the image (default: that of PATH, without its extension)"}},
						Action: t.importImage,
					},
				},
			},
			t.keysCommand(socket),
			{Name: "backup", Usage: "write all records and artifacts to a tar file, while the daemon goes on",
				ArgsUsage: "FILE", Flags: []cli.Flag{socket}, Action: t.backup},
			{
				Name: "doctor", Usage: "report what this host can enforce and what to fix",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "config", Usage: "configuration `FILE` of tsubod"}},
				Action: t.doctor,
			},
			{Name: "version", Usage: "print the version", Action: func(c *cli.Context) error {
				if err := arguments(c, 0); err != nil {
					return err
				}
				_, err := fmt.Fprintln(t.out, "tsubo", Version)
				return err
			}},
		},
	}
	app.Commands = slices.Insert(app.Commands, 1, t.jobCommands(socket)...)
	for _, c := range all(app.Commands) {
		c.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return err } // without help text
	}
	app.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return err }
	return app
}

func all(commands []*cli.Command) []*cli.Command {
	var found []*cli.Command
	for _, c := range commands {
		found = append(append(found, c), all(c.Subcommands)...)
	}
	return found
}

// unknown is the action of commands that only have subcommands.
func unknown(c *cli.Context) error {
	if c.NArg() == 0 {
		return cli.ShowSubcommandHelp(c)
	}
	return fmt.Errorf("unknown command %q: see tsubo --help", c.Args().First())
}

// arguments checks the number of arguments.
func arguments(c *cli.Context, want int) error {
	switch n := c.NArg(); {
	case n > want:
		return fmt.Errorf("unexpected argument %q: see %s --help", c.Args().Get(want), c.Command.HelpName)
	case n < want:
		return fmt.Errorf("missing argument %s: see %s --help", c.Command.ArgsUsage, c.Command.HelpName)
	}
	return nil
}

// connect returns a client for the socket option nearest to the command.
func connect(c *cli.Context) *client.Client {
	for _, level := range c.Lineage() {
		if level.IsSet("socket") && level.String("socket") != "" {
			return client.New(level.String("socket"))
		}
	}
	return client.New(client.DefaultSocket)
}

func (t *tool) doctor(c *cli.Context) error {
	if err := arguments(c, 0); err != nil {
		return err
	}
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		fmt.Fprintf(t.err, "tsubo: %v\n", err)
		return status(exitUnhealthy)
	}
	if code := doctor.Run(c.Context, t.out, cfg); code != 0 {
		return status(code)
	}
	return nil
}
