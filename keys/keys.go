// Package keys holds the API keys that were made with `tsubo keys create`: their hashes, in one
// file below the state directory. A key itself is shown once, when it is made, and is nowhere
// afterwards.
package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Key is one API key as it is kept and shown.
type Key struct {
	ID        string    `json:"id"`     // 12 hex digits, random; names the key's tenant
	SHA256    string    `json:"sha256"` // of the key's text, 64 hex digits
	Name      string    `json:"name"`   // whatever its maker called it, "" for nothing
	Admin     bool      `json:"admin"`
	CreatedAt time.Time `json:"created_at"`
	// ExpiresAt is when the key stops being valid. Zero means never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// LastUsedAt is when Find last returned the key before it expired. Zero means never.
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// Expired reports whether the key is not valid at now any more.
func (k Key) Expired(now time.Time) bool { return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt) }

// ErrNotFound reports that there is no key of that id.
var ErrNotFound = errors.New("no such key")

// maxKeys bounds the file.
const maxKeys = 10000

// File is the keys in one file. It is safe for concurrent use; one process at a time owns the file.
type File struct {
	path    string
	writing sync.Mutex   // held by whoever replaces the file; taken before mu
	mu      sync.RWMutex // never held while the disk is awaited
	keys    []Key
	used    sync.Map // key ID to *atomic.Int64: Unix seconds of the last use since Open
}

// Path is where tsubod has the file in its data_dir.
func Path(dataDir string) string { return filepath.Join(dataDir, "state", "keys.json") }

// Open reads the file at path; one that is not there is no key. A file that others can read, or
// that is not what Create wrote, is an error.
func Open(path string) (*File, error) {
	f := &File{path: path}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return f, nil
	case err != nil:
		return nil, fmt.Errorf("read API keys: %w", err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("read API keys: %s must be a regular file that only root can read: chmod 600 it", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read API keys: %w", err)
	}
	if err := json.Unmarshal(data, &f.keys); err != nil {
		return nil, fmt.Errorf("read API keys: %s is damaged: restore it from a backup, or remove it and make new keys: %w", path, err)
	}
	for _, k := range f.keys {
		if sum, err := hex.DecodeString(k.SHA256); err != nil || len(sum) != sha256.Size || k.ID == "" {
			return nil, fmt.Errorf("read API keys: %s is damaged: the entry of key %q is no hash", path, k.ID)
		}
	}
	return f, nil
}

// Create makes a key of 256 random bits, keeps its hash durably, and returns its text, which cannot
// be had again. A zero expires means never.
func (f *File) Create(name string, admin bool, expires time.Time) (text string, key Key, err error) {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	text = "tsubo_" + base64.RawURLEncoding.EncodeToString(secret[:])
	var id [6]byte
	_, _ = rand.Read(id[:])
	sum := sha256.Sum256([]byte(text))
	key = Key{ID: hex.EncodeToString(id[:]), SHA256: hex.EncodeToString(sum[:]), Name: name, Admin: admin, CreatedAt: time.Now().UTC().Truncate(time.Second)}
	if !expires.IsZero() {
		key.ExpiresAt = expires.UTC().Truncate(time.Second)
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	all := f.List()
	if len(all) >= maxKeys {
		return "", Key{}, fmt.Errorf("make API key: there are %d already: revoke some", len(all))
	}
	if err := f.replace(append(all, key)); err != nil {
		return "", Key{}, err
	}
	return text, key, nil
}

// Revoke removes a key durably; from its return on nobody gets in with it.
func (f *File) Revoke(id string) error {
	f.writing.Lock()
	defer f.writing.Unlock()
	all := f.List()
	next := slices.DeleteFunc(slices.Clone(all), func(k Key) bool { return k.ID == id })
	if len(next) == len(all) {
		return ErrNotFound
	}
	if err := f.replace(next); err != nil {
		return err
	}
	f.used.Delete(id)
	return nil
}

// Flush writes the last uses that Find has noted, if the file has not got them. Find does not wait
// for it.
func (f *File) Flush() error {
	f.writing.Lock()
	defer f.writing.Unlock()
	f.mu.RLock()
	old := slices.Clone(f.keys)
	f.mu.RUnlock()
	if next := f.List(); !slices.Equal(old, next) {
		return f.replace(next)
	}
	return nil
}

// replace makes next the keys, durably. f.writing must be held.
func (f *File) replace(next []Key) error {
	if err := f.write(next); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys = next
	return nil
}

// List returns the keys, oldest first, with last uses that are not written yet.
func (f *File) List() []Key {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all := slices.Clone(f.keys)
	for i := range all {
		if used, ok := f.used.Load(all[i].ID); ok {
			all[i].LastUsedAt = time.Unix(used.(*atomic.Int64).Load(), 0).UTC()
		}
	}
	return all
}

// note notes in memory that a key is used.
func (f *File) note(id string, now time.Time) {
	used, ok := f.used.Load(id)
	if !ok {
		used, _ = f.used.LoadOrStore(id, new(atomic.Int64))
	}
	used.(*atomic.Int64).Store(now.Unix())
}

// Find returns the key whose text hashes to sum. The time it takes depends on how many keys there
// are, not on which one matches. An expired key is returned, too: the caller checks Key.Expired.
// Find notes the use of any other in memory.
func (f *File) Find(sum [32]byte) (Key, bool) {
	want := []byte(hex.EncodeToString(sum[:]))
	f.mu.RLock()
	defer f.mu.RUnlock()
	found := -1
	for i, k := range f.keys {
		if subtle.ConstantTimeCompare([]byte(strings.ToLower(k.SHA256)), want) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Key{}, false
	}
	key := f.keys[found]
	if now := time.Now(); !key.Expired(now) {
		f.note(key.ID, now)
	}
	return key, true
}

// write replaces the file by rename after fsync.
func (f *File) write(keys []Key) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write API keys: %w", err)
		}
	}()
	data, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(f.path)
	tmp, err := os.CreateTemp(dir, ".keys-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), f.path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
