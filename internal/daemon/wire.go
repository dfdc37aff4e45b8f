package daemon

import (
	"context"
	"errors"
	"io"

	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
)

// apiImages is the catalogue as package api wants it.
type apiImages struct {
	catalogue *images.Catalogue
	max       int64
}

// List implements api.Images.
func (a apiImages) List(context.Context) ([]job.Image, error) { return a.catalogue.List(), nil }

// Import implements api.Images.
func (a apiImages) Import(ctx context.Context, name string, archive io.Reader) (job.Image, error) {
	image, err := a.catalogue.ImportArchive(ctx, name, archive, a.max)
	var told *images.Error
	if !errors.As(err, &told) {
		return image, err
	}
	for kind, reason := range map[error]job.Reason{
		images.ErrInvalid:  job.Invalid,
		images.ErrTooLarge: job.TooBig,
		images.ErrNotFound: job.NotFound,
		images.ErrConflict: job.Conflict,
		images.ErrNoSpace:  job.NoSpace,
	} {
		if errors.Is(err, kind) {
			return image, job.Refuse(reason, "%s", told.Message)
		}
	}
	return image, err
}
