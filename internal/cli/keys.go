package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/tsubo-run/tsubo/config"
	"github.com/tsubo-run/tsubo/internal/owned"
	"github.com/tsubo-run/tsubo/keys"
)

// keysCommand is tsubo keys.
func (t *tool) keysCommand(socket cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "keys", Usage: "API keys for callers on TCP", Flags: []cli.Flag{socket}, HideHelpCommand: true, Action: unknown,
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make a key of 256 random bits and print it; it cannot be had again",
				Flags: []cli.Flag{
					socket,
					&cli.StringFlag{Name: "name", Usage: "`NAME` to know the key by"},
					&cli.BoolFlag{Name: "admin", Usage: "give its bearer the admin role"},
					&cli.BoolFlag{Name: "offline", Usage: "write the key into data_dir while no tsubod runs, for the first start with api_auth_enabled"},
					&cli.StringFlag{Name: "config", Usage: "with --offline, tsubod's configuration `FILE`"},
				},
				Action: t.createKey,
			},
			{Name: "list", Usage: "list them, without the keys themselves", Flags: []cli.Flag{socket}, Action: t.listKeys},
			{Name: "revoke", Usage: "shut a key out from now on", ArgsUsage: "ID", Flags: []cli.Flag{socket}, Action: t.revokeKey},
		},
	}
}

func (t *tool) createKey(c *cli.Context) error {
	if err := arguments(c, 0); err != nil {
		return err
	}
	if c.Bool("offline") {
		return t.createOffline(c)
	}
	daemon := connect(c)
	defer daemon.Close()
	key, err := daemon.CreateKey(c.Context, c.String("name"), c.Bool("admin"))
	if err != nil {
		return err
	}
	fmt.Fprintf(t.err, "id %s, role %s: keep the key below, it is shown only now\n", key.ID, key.Role)
	_, err = fmt.Fprintln(t.out, key.Key)
	return err
}

// createOffline makes a key without a daemon, under the lock that a daemon would hold.
func (t *tool) createOffline(c *cli.Context) (err error) {
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
	text, key, err := file.Create(c.String("name"), c.Bool("admin"))
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
	fmt.Fprintln(w, "ID\tROLE\tCREATED\tNAME")
	for _, k := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Role, k.CreatedAt, k.Name)
	}
	return w.Flush()
}

func (t *tool) revokeKey(c *cli.Context) error {
	if err := arguments(c, 1); err != nil {
		return err
	}
	daemon := connect(c)
	defer daemon.Close()
	return daemon.RevokeKey(c.Context, c.Args().First())
}
