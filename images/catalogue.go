package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/tsubo-run/tsubo/job"
	"github.com/tsubo-run/tsubo/rootfs"
)

// Limits limits the input of the catalogue. [rootfs.Limits] limits a root's content. Zero fields
// mean the default.
type Limits struct {
	Manifest       int64 // bytes of index.json, a manifest or a configuration; default 4 MiB
	EnvEntries     int   // default 1024
	EnvBytes       int   // default 64 KiB
	ArchiveBytes   int64 // bytes that an uploaded archive unpacks to; default 8 GiB
	ArchiveEntries int   // default 4096
}

func (l Limits) withDefaults() Limits {
	if l.Manifest <= 0 {
		l.Manifest = 4 << 20
	}
	if l.EnvEntries <= 0 {
		l.EnvEntries = 1024
	}
	if l.EnvBytes <= 0 {
		l.EnvBytes = 64 << 10
	}
	if l.ArchiveBytes <= 0 {
		l.ArchiveBytes = 8 << 30
	}
	if l.ArchiveEntries <= 0 {
		l.ArchiveEntries = 4096
	}
	return l
}

// Options configures a [Catalogue].
type Options struct {
	Limits Limits
	Logger *slog.Logger // default slog.Default()
}

// Catalogue holds the imported images. It is safe for concurrent use.
type Catalogue struct {
	dir    string
	roots  *rootfs.Store
	limits Limits
	log    *slog.Logger

	mu      sync.Mutex
	records map[digest.Digest]record
	names   map[string]digest.Digest
}

// record is one image on disk.
type record struct {
	Format    int             `json:"format"`
	Digest    digest.Digest   `json:"digest"`
	Config    job.ImageConfig `json:"config"`
	CreatedAt time.Time       `json:"created_at"`
}

// namesFile is names.json.
type namesFile struct {
	Format int                      `json:"format"`
	Names  map[string]digest.Digest `json:"names"`
}

const format = 1

// Open opens or makes the catalogue in dir over the roots and removes leftovers of interrupted
// uploads. A record that is unreadable or lacks its root is logged and skipped; importing the image
// again repairs it.
func Open(dir string, roots *rootfs.Store, opts Options) (*Catalogue, error) {
	c := &Catalogue{
		dir: dir, roots: roots, limits: opts.Limits.withDefaults(), log: opts.Logger,
		records: make(map[digest.Digest]record), names: make(map[string]digest.Digest),
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	for _, d := range []string{dir, c.recordsDir(), c.stagingDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, classify(fmt.Errorf("make catalogue: %w", err))
		}
	}
	left, err := os.ReadDir(c.stagingDir())
	if err != nil {
		return nil, fmt.Errorf("list staging: %w", err)
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(c.stagingDir(), e.Name())); err != nil {
			return nil, fmt.Errorf("sweep staging: %w", err)
		}
	}
	if err := c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Catalogue) recordsDir() string { return filepath.Join(c.dir, "records") }
func (c *Catalogue) stagingDir() string { return filepath.Join(c.dir, "staging") }
func (c *Catalogue) namesPath() string  { return filepath.Join(c.dir, "names.json") }
func (c *Catalogue) recordPath(d digest.Digest) string {
	return filepath.Join(c.recordsDir(), d.Encoded()+".json")
}

func (c *Catalogue) load() error {
	files, err := os.ReadDir(c.recordsDir())
	if err != nil {
		return fmt.Errorf("list records: %w", err)
	}
	for _, f := range files {
		d := digest.Digest("sha256:" + strings.TrimSuffix(f.Name(), ".json"))
		if err := c.loadRecord(d); err != nil {
			c.log.Warn("an image cannot be used; import it again", "digest", string(d), "err", err)
		}
	}
	var n namesFile
	err = readJSON(c.namesPath(), &n)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err == nil && n.Format != format:
		err = fmt.Errorf("format %d", n.Format)
	}
	if err != nil {
		c.log.Warn("names of images cannot be read; import them again", "err", err)
		return nil
	}
	for name, d := range n.Names {
		if _, ok := c.records[d]; !ok || CheckName(name) != nil {
			c.log.Warn("an image's name cannot be used; import it again", "name", name, "digest", string(d))
			continue
		}
		c.names[name] = d
	}
	return nil
}

func (c *Catalogue) loadRecord(d digest.Digest) error {
	if _, err := blobName(d); err != nil {
		return err
	}
	var r record
	if err := readJSON(c.recordPath(d), &r); err != nil {
		return err
	}
	if r.Format != format || r.Digest != d {
		return fmt.Errorf("record of format %d for %q: not this image's", r.Format, r.Digest)
	}
	if _, err := checkConfig(r.Config.Env, r.Config.WorkingDir, c.limits); err != nil {
		return err
	}
	if _, err := c.roots.Lookup(string(d)); err != nil {
		return err
	}
	c.records[d] = r
	return nil
}

// CheckName checks an image's name in the catalogue.
func CheckName(name string) error {
	if err := job.CheckImageName(name); err != nil {
		return invalidf("%v", err)
	}
	return nil
}

// List returns the images sorted by name, unnamed images last. An image with several names is
// listed once per name.
func (c *Catalogue) List() []job.Image {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]job.Image, 0, len(c.records))
	named := make(map[digest.Digest]bool)
	for _, name := range slices.Sorted(maps.Keys(c.names)) {
		d := c.names[name]
		named[d] = true
		if img, err := c.image(name, d); err == nil {
			out = append(out, img)
		}
	}
	for _, d := range slices.Sorted(maps.Keys(c.records)) {
		if named[d] {
			continue
		}
		if img, err := c.image("", d); err == nil {
			out = append(out, img)
		}
	}
	return out
}

// image returns the client's view of an image. c.mu must be held.
func (c *Catalogue) image(name string, d digest.Digest) (job.Image, error) {
	r, ok := c.records[d]
	if !ok {
		return job.Image{}, notFound(string(d))
	}
	root, err := c.roots.Lookup(string(d))
	if err != nil {
		return job.Image{}, refuse(job.NotFound,
			fmt.Sprintf("the root of image %s is gone; import the image again", d), err)
	}
	return job.Image{Name: name, Digest: string(d), Rootfs: root.Kind, SizeBytes: root.Size, CreatedAt: r.CreatedAt}, nil
}

func notFound(ref string) error {
	return job.Refuse(job.NotFound,
		"no image %.300q; `tsubo images list` shows those there are, `tsubo images import` adds one", ref)
}

// Resolve finds an image by name or manifest digest. If there is no such image, it refuses with
// [job.NotFound].
func (c *Catalogue) Resolve(ref string) (job.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, ok := c.names[ref]; ok {
		return c.image(ref, d)
	}
	d := digest.Digest(ref)
	if _, ok := c.records[d]; !ok {
		return job.Image{}, notFound(ref)
	}
	name := ""
	for _, n := range slices.Sorted(maps.Keys(c.names)) {
		if c.names[n] == d {
			name = n
			break
		}
	}
	return c.image(name, d)
}

// Use is an image in use by a sandbox. The image's root stays until [Use.Release].
type Use struct {
	Image  job.Image
	Config job.ImageConfig
	Root   rootfs.Root
	lease  *rootfs.Lease
}

// Release ends the use. Further calls do nothing.
func (u *Use) Release() { u.lease.Release() }

// Use leases an image by name or digest. If there is no such image, it refuses with
// [job.NotFound]; it refuses for no other reason.
func (c *Catalogue) Use(ref string) (*Use, error) {
	img, err := c.Resolve(ref)
	if err != nil {
		return nil, err
	}
	lease, err := c.roots.Acquire(img.Digest)
	if err != nil {
		return nil, classify(fmt.Errorf("lease image %s: %w", img.Digest, err))
	}
	c.mu.Lock()
	config := c.records[digest.Digest(img.Digest)].Config
	c.mu.Unlock()
	return &Use{Image: img, Config: config, Root: lease.Root, lease: lease}, nil
}

// put records an image, then its name. Each is on disk before it is added to the catalogue.
func (c *Catalogue) put(name string, p parsed) (job.Image, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.records[p.digest]; !known {
		r := record{Format: format, Digest: p.digest, Config: p.config, CreatedAt: time.Now().UTC()}
		if err := writeJSON(c.recordPath(p.digest), r); err != nil {
			return job.Image{}, fmt.Errorf("write record: %w", err)
		}
		c.records[p.digest] = r
	}
	if c.names[name] != p.digest {
		names := maps.Clone(c.names)
		names[name] = p.digest
		if err := writeJSON(c.namesPath(), namesFile{Format: format, Names: names}); err != nil {
			return job.Image{}, fmt.Errorf("write names: %w", err)
		}
		c.names = names
	}
	return c.image(name, p.digest)
}

func readJSON(path string, v any) error {
	f, err := os.Open(path) //nolint:gosec // below the state directory
	if err != nil {
		return fmt.Errorf("open record: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, 16<<20))
	if err != nil {
		return fmt.Errorf("read record: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode record of %d bytes: %w", len(b), err)
	}
	return nil
}

// writeJSON replaces a file durably by rename.
func writeJSON(path string, v any) (err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	d, err := os.Open(dir) //nolint:gosec // below the state directory
	if err != nil {
		return fmt.Errorf("open directory to sync: %w", err)
	}
	defer d.Close() //nolint:errcheck // a directory
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
