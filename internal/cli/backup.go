package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// backup implements tsubo backup FILE. The file gets its name only once it is complete and synced,
// and replaces an existing file.
func (t *tool) backup(c *cli.Context) (err error) {
	if err := arguments(c, 1); err != nil {
		return err
	}
	path := c.Args().First()
	dir := filepath.Dir(path)
	file, err := os.CreateTemp(dir, ".tsubo-backup-*") // 0600: contains the code and results of all callers
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	daemon := connect(c)
	defer daemon.Close()
	size, err := daemon.Backup(c.Context, file)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err = os.Rename(file.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err = errors.Join(d.Sync(), d.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s %d bytes\n", path, size)
	return err
}
