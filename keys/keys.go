// Package keys holds the API keys that were made with `tsubo keys create`: their hashes, in one file below the state directory. A key
// itself is shown once, when it is made, and is nowhere afterwards.
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
	"time"
)

// Key is one API key as it is kept and shown.
type Key struct {
	ID        string    `json:"id"`     // 12 hex digits, random; names the key's tenant
	SHA256    string    `json:"sha256"` // of the key's text, 64 hex digits
	Name      string    `json:"name"`   // whatever its maker called it, "" for nothing
	Admin     bool      `json:"admin"`
	CreatedAt time.Time `json:"created_at"`
}

// ErrNotFound says that there is no key of that id.
var ErrNotFound = errors.New("no such key")

// maxKeys bounds the file.
const maxKeys = 10000

// File is the keys in one file. It is safe for concurrent use; one process at a time owns the file.
type File struct {
	path string
	mu   sync.RWMutex
	keys []Key
}

// Path is where tsubod has the file in its data_dir.
func Path(dataDir string) string { return filepath.Join(dataDir, "state", "keys.json") }

// Open reads the file at path; one that is not there is no key. A file that others can read, or that is not what Create wrote, is an error.
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

// Create makes a key of 256 random bits, keeps its hash durably, and returns its text, which cannot be had again.
func (f *File) Create(name string, admin bool) (text string, key Key, err error) {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	text = "tsubo_" + base64.RawURLEncoding.EncodeToString(secret[:])
	var id [6]byte
	_, _ = rand.Read(id[:])
	sum := sha256.Sum256([]byte(text))
	key = Key{ID: hex.EncodeToString(id[:]), SHA256: hex.EncodeToString(sum[:]), Name: name, Admin: admin, CreatedAt: time.Now().UTC().Truncate(time.Second)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.keys) >= maxKeys {
		return "", Key{}, fmt.Errorf("make API key: there are %d already: revoke some", len(f.keys))
	}
	next := append(slices.Clone(f.keys), key)
	if err := f.write(next); err != nil {
		return "", Key{}, err
	}
	f.keys = next
	return text, key, nil
}

// Revoke removes a key durably; from its return on nobody gets in with it.
func (f *File) Revoke(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := slices.DeleteFunc(slices.Clone(f.keys), func(k Key) bool { return k.ID == id })
	if len(next) == len(f.keys) {
		return ErrNotFound
	}
	if err := f.write(next); err != nil {
		return err
	}
	f.keys = next
	return nil
}

// List returns the keys, oldest first.
func (f *File) List() []Key {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return slices.Clone(f.keys)
}

// Find returns the key whose text hashes to sum. The time it takes depends on how many keys there are, not on which one matches.
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
	return f.keys[found], true
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
