package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

const quota = 100_000

// A caller's stored bytes are within the quota after every write, without Purge. The oldest records
// go; the newest stays.
func TestQuotaAtSaveAndFinish(t *testing.T) {
	text := strings.Repeat("x", 30_000)
	for name, keep := range map[string]func(*Store, string){
		"save": func(s *Store, id string) {
			s.Save(&job.Record{ID: id, Caller: "uid:1", Status: job.Succeeded, Stdout: text}, nil, nil)
			if _, err := s.Get(t.Context(), id); err != nil { // Get waits until the record is stored
				t.Error(err)
			}
		},
		"finish": func(s *Store, id string) {
			accepted(t, s, id)
			if err := s.Begin(t.Context(), id, 0, "w", s.now()); err != nil {
				t.Error(err)
			}
			if err := s.Finish(t.Context(), &job.Record{ID: id, Caller: "uid:1", Status: job.Succeeded, Stdout: text},
				nil); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openHere(t, Config{})
			s.SetRetention(Retention{CallerBytes: quota})
			s.Save(&job.Record{ID: "other", Caller: "uid:2", Status: job.Succeeded, Stdout: text}, nil, nil)
			for i := range 10 {
				id := fmt.Sprint("job-", i)
				keep(s, id)
				if n, err := s.Bytes(t.Context(), "uid:1"); err != nil || n > quota {
					t.Errorf("after %s: %d bytes, %v", id, n, err)
				}
			}
			for id, want := range map[string]error{"job-0": job.ErrNotFound, "job-9": nil, "other": nil} {
				if _, err := s.Get(t.Context(), id); !errors.Is(err, want) {
					t.Errorf("get %s: %v, want %v", id, err, want)
				}
			}
			select {
			case <-s.Over():
			default:
				t.Error("nobody removes the files of the records that went")
			}
		})
	}
}

func TestQuotaAtAccept(t *testing.T) {
	s := openHere(t, Config{})
	s.SetRetention(Retention{CallerBytes: quota})
	code := strings.Repeat("x", 40_000)
	accept := func(caller, id string) error {
		_, err := s.Accept(t.Context(), &job.Record{ID: id, Caller: caller, Status: job.Queued, Async: true},
			&job.Request{Code: code})
		return err
	}
	s.Save(&job.Record{ID: "old", Caller: "uid:1", Status: job.Succeeded, Stdout: code}, nil, nil)
	if _, err := s.Get(t.Context(), "old"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1", "2"} {
		if err := accept("uid:1", id); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Get(t.Context(), "old"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the old record is still there: %v", err)
	}
	var r *job.Refusal
	if err := accept("uid:1", "3"); !errors.As(err, &r) || r.Reason != job.NoSpace {
		t.Errorf("a third job over the quota: %v", err)
	}
	if _, err := s.Get(t.Context(), "3"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the refused job is kept: %v", err)
	}
	if err := accept("uid:2", "b"); err != nil {
		t.Errorf("another caller: %v", err)
	}
}

func TestTotalOverrunWakesPurge(t *testing.T) {
	s := openHere(t, Config{})
	s.SetRetention(Retention{TotalBytes: 1000})
	accepted(t, s, "small")
	select {
	case <-s.Over():
		t.Error("woken below the limit")
	default:
	}
	s.Save(&job.Record{ID: "large", Caller: "uid:2", Status: job.Succeeded, Stdout: strings.Repeat("x", 2000)}, nil,
		nil)
	if _, err := s.Get(t.Context(), "large"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Over():
	default:
		t.Error("not woken over the limit")
	}
}
