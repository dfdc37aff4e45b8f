package daemon

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

// importer is a catalogue whose import ends with err.
type importer struct{ err error }

func (i importer) List() []job.Image { return []job.Image{{Name: "listed"}} }

func (i importer) ImportArchive(_ context.Context, name string, _ io.Reader) (job.Image, error) {
	return job.Image{Name: name}, i.err
}

// TestImportChangesThePool: an import updates what the pool keeps, unless the catalogue refuses.
// The refusal reaches the API.
func TestImportChangesThePool(t *testing.T) {
	for _, refusal := range []error{nil, job.Refuse(job.Conflict, "in use"), errors.New("own failure")} {
		changed := 0
		a := apiImages{importer{refusal}, func() { changed++ }}
		image, err := a.Import(t.Context(), "python", strings.NewReader(""))
		if !errors.Is(err, refusal) || image.Name != "python" || (changed == 1) != (refusal == nil) {
			t.Errorf("error %v, want %v; image %+v, changed %d times", err, refusal, image, changed)
		}
	}
	if all, err := (apiImages{catalogue: importer{}}).List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("list %v, error %v", all, err)
	}
}
