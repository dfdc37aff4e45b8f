package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// interleave moves the command's options in front of its arguments, so that both may be mixed. "--"
// ends the options.
func interleave(app *cli.App, args []string) []string {
	flags, commands := app.Flags, app.Commands
	i := 1
	for len(commands) > 0 && i < len(args) {
		if strings.HasPrefix(args[i], "-") {
			i += width(flags, args[i])
			continue
		}
		at := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[i]) })
		if at < 0 {
			return args
		}
		flags, commands = commands[at].Flags, commands[at].Subcommands
		i++
	}
	i = min(i, len(args))
	options := slices.Clone(args[:i])
	var rest []string
	for i < len(args) {
		switch a := args[i]; {
		case a == "--":
			rest = append(rest, args[i+1:]...)
			i = len(args)
		case len(a) > 1 && a[0] == '-':
			n := min(width(flags, a), len(args)-i)
			options = append(options, args[i:i+n]...)
			i += n
		default:
			rest = append(rest, a)
			i++
		}
	}
	if len(rest) == 0 {
		return options
	}
	return append(append(options, "--"), rest...)
}

// width returns the number of words that the option takes: 2 if its value is the next word.
func width(flags []cli.Flag, option string) int {
	name := strings.TrimLeft(option, "-")
	for _, f := range flags {
		if _, is := f.(*cli.BoolFlag); !is && slices.Contains(f.Names(), name) {
			return 2
		}
	}
	return 1
}
