package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/internal/owned"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/keys"
)

// keysCommand returns the command tsubo keys.
func (t *tool) keysCommand(socket cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "keys", Usage: "API keys for callers on TCP", Flags: []cli.Flag{socket}, HideHelpCommand: true,
		Action: unknown,
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make a key of 256 random bits and print it; it cannot be had again",
				Flags: []cli.Flag{
					socket,
					&cli.StringFlag{Name: "name", Usage: "`NAME` to know the key by"},
					&cli.BoolFlag{Name: "admin", Usage: "give its bearer the admin role"},
					&cli.StringFlag{Name: "expires",
						Usage: "refuse the key after `TIME`: a duration such as 30d or 12h, or a time in RFC 3339"},
					&cli.BoolFlag{Name: "offline",
						Usage: "write the key into data_dir while no tsubod runs, for the first start with " +
							"api_auth_enabled"},
					&cli.StringFlag{Name: "config", Usage: "with --offline, tsubod's configuration `FILE`"},
				},
				Action: t.createKey,
			},
			{Name: "list", Usage: "list them, without the keys themselves", Flags: []cli.Flag{socket},
				Action: t.listKeys},
			{Name: "revoke", Usage: "revoke a key", ArgsUsage: "ID", Flags: []cli.Flag{socket}, Action: t.revokeKey},
		},
	}
}

func (t *tool) createKey(c *cli.Context) error {
	if err := arguments(c, 0); err != nil {
		return err
	}
	expires, err := expiry(c.String("expires"), time.Now())
	if err != nil {
		return err
	}
	if c.Bool("offline") {
		return t.createOffline(c, expires)
	}
	daemon := connect(c)
	defer daemon.Close()
	key, err := daemon.CreateKey(c.Context, c.String("name"), c.Bool("admin"), expires)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.err, "id %s, role %s: keep the key below, it is shown only now\n", key.ID, key.Role)
	_, err = fmt.Fprintln(t.out, key.Key)
	return err
}

// expiry parses --expires. An empty string returns the zero time. The result must be after now.
func expiry(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		var d time.Duration
		if days, ok := strings.CutSuffix(text, "d"); ok {
			var n uint64
			n, err = strconv.ParseUint(days, 10, 16) // at most 179 years
			d = time.Duration(n) * 24 * time.Hour    //nolint:gosec // 16 bits
		} else {
			d, err = time.ParseDuration(text)
		}
		at = now.Add(d)
	}
	if err != nil || !at.After(now) {
		return time.Time{}, fmt.Errorf(
			"--expires %q: give a duration above 0 such as 30d or 12h, or a time to come in RFC 3339", text)
	}
	return at, nil
}

// createOffline creates a key without a daemon, under the daemon's lock.
func (t *tool) createOffline(c *cli.Context, expires time.Time) (err error) {
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		return err
	}
	lock, err := owned.Lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	path := keys.Path(cfg.DataDir)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("field data_dir: %w", err)
	}
	file, err := keys.Open(path)
	if err != nil {
		return err
	}
	text, key, err := file.Create(c.String("name"), c.Bool("admin"), expires)
	if err != nil {
		return err
	}
	role := "user"
	if key.Admin {
		role = "admin"
	}
	fmt.Fprintf(t.err, "id %s, role %s: keep the key below, it is shown only now\n", key.ID, role)
	_, err = fmt.Fprintln(t.out, text)
	return err
}

func (t *tool) listKeys(c *cli.Context) error {
	if err := arguments(c, 0); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	all, err := daemon.Keys(c.Context)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tROLE\tCREATED\tEXPIRES\tLAST USED\tNAME")
	for _, k := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Role, k.CreatedAt, orNever(k.ExpiresAt),
			orNever(k.LastUsedAt), k.Name)
	}
	return w.Flush()
}

func orNever(s *job.Stamp) string {
	if s == nil {
		return "never"
	}
	return s.String()
}

func (t *tool) revokeKey(c *cli.Context) error {
	if err := arguments(c, 1); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	return daemon.RevokeKey(c.Context, c.Args().First())
}
