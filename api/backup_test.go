package api

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestBackup(t *testing.T) {
	r := newRig(t, 0)
	if a := r.raw("GET", "/backup", ""); a.status != 200 || a.text != "a tar" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %q %v", a.status, a.text, a.header)
	}
	r.store.backup = func(io.Writer) error { return errors.New("no room") }
	if a := r.do("GET", "/backup", ""); a.status != 500 || a.header.Get("Content-Disposition") != "" {
		t.Errorf("nothing written: %d %s %v", a.status, a.text, a.header)
	}
	r.store.backup = func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("x", 1<<20))
		return errors.Join(err, errors.New("the disk is gone"))
	}
	q := r.request("GET", "/backup", "")
	answer, err := r.client.Do(q)
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	if err == nil {
		t.Error("a backup that broke off was taken for a whole one")
	}
	if a := newRig(t, 5000).do("GET", "/backup", ""); a.status != 403 {
		t.Errorf("a user: %d", a.status)
	}
}

func TestCheck(t *testing.T) {
	r := newRig(t, 0)
	if a := r.do("GET", "/check", ""); a.status != 200 || a.body["ok"] != true {
		t.Errorf("%d %s", a.status, a.text)
	}
	r.store.err = errors.Join(errors.New("artifact ab is gone"), errors.New("row 7 is damaged"))
	if a := r.do("GET", "/check", ""); a.status != 200 || a.body["ok"] != false || !strings.Contains(a.text, "row 7") {
		t.Errorf("%d %s", a.status, a.text)
	}
	if a := newRig(t, 5000).do("GET", "/check", ""); a.status != 403 {
		t.Errorf("a user: %d", a.status)
	}
}
