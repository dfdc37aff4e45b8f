package daemon

import (
	"context"
	"errors"
	"testing"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
	"github.com/tsubo-run/tsubo/sandbox"
)

func TestCanaryThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	d := &Daemon{log: quiet}
	wrong := &sandbox.CanaryError{Wrong: []string{"x"}}
	for name, c := range map[string]struct {
		answers []error
		want    error
		asked   int
	}{
		"right":                 {[]error{nil}, nil, 1},
		"silent, then right":    {[]error{sandbox.ErrSilent, nil}, nil, 2},
		"silent, then wrong":    {[]error{sandbox.ErrSilent, wrong}, wrong, 2},
		"wrong is not repeated": {[]error{wrong, nil}, wrong, 1},
		"silent to the end": {[]error{sandbox.ErrSilent, sandbox.ErrSilent, sandbox.ErrSilent, nil},
			sandbox.ErrSilent, 3},
	} {
		asked := 0
		err := d.ask(t.Context(), func(context.Context, rootfs.Root, job.Limits) error {
			asked++
			return c.answers[asked-1]
		}, rootfs.Root{})
		if !errors.Is(err, c.want) || asked != c.asked {
			t.Errorf("%s: %v after %d", name, err, asked)
		}
	}
}
