package store

import "testing"

// A running job has started_at; a requeued job has none.
func TestRunningJobHasStartedAt(t *testing.T) {
	s := openHere(t, Config{})
	accepted(t, s, "a")
	started := func() bool {
		rec, err := s.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		return !rec.StartedAt.IsZero()
	}
	if err := s.Begin(t.Context(), "a", 0, "w", s.now()); err != nil {
		t.Fatal(err)
	}
	if !started() {
		t.Error("it runs without started_at")
	}
	if err := s.Requeue(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if started() {
		t.Error("it is queued with started_at")
	}
}
