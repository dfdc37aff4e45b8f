package daemon

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/tsubo-run/tsubo/images"
	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/keys"
)

// apiImages adapts the catalogue to api.Images.
type apiImages struct {
	catalogue interface {
		List() []job.Image
		ImportArchive(ctx context.Context, name string, archive io.Reader) (job.Image, error)
	}
	changed func() // called after an import
}

// List implements api.Images.
func (a apiImages) List(context.Context) ([]job.Image, error) { return a.catalogue.List(), nil }

// Import implements api.Images.
func (a apiImages) Import(ctx context.Context, name string, archive io.Reader) (job.Image, error) {
	image, err := a.catalogue.ImportArchive(ctx, name, archive)
	if err == nil {
		a.changed()
	}
	return image, err
}

// imageLeases adapts the catalogue to imageLeaser.
type imageLeases struct{ catalogue *images.Catalogue }

// Use implements imageLeaser.
func (l imageLeases) Use(ref string) (*images.Use, func(), error) {
	use, err := l.catalogue.Use(ref)
	if err != nil {
		return nil, nil, err
	}
	return use, use.Release, nil
}

// apiKeys adapts the file of API keys to api.Keys.
type apiKeys struct{ file *keys.File }

// Create implements api.Keys.
func (a apiKeys) Create(name string, admin bool, expires time.Time) (string, job.APIKey, error) {
	text, key, err := a.file.Create(name, admin, expires)
	return text, shown(key), err
}

// List implements api.Keys.
func (a apiKeys) List() []job.APIKey {
	var all []job.APIKey
	for _, key := range a.file.List() {
		all = append(all, shown(key))
	}
	return all
}

// Revoke implements api.Keys.
func (a apiKeys) Revoke(id string) error {
	err := a.file.Revoke(id)
	if errors.Is(err, keys.ErrNotFound) {
		return job.ErrNotFound
	}
	return err
}

func shown(key keys.Key) job.APIKey {
	role := "user"
	if key.Admin {
		role = "admin"
	}
	return job.APIKey{
		ID: key.ID, Name: key.Name, Role: role, CreatedAt: job.Stamp(key.CreatedAt),
		ExpiresAt: job.StampOf(key.ExpiresAt), LastUsedAt: job.StampOf(key.LastUsedAt),
	}
}
