package api

import (
	"bytes"
	"context"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

// forgetful runs nothing and notes nothing, so that a long run of the fuzzer has room.
type forgetful struct{ *fakeExecutor }

func (forgetful) Execute(_ context.Context, s job.Submission, _ bool, _ func(iter.Seq[job.Event])) (*job.Record, *job.Result, error) {
	if r := s.Spec.Refused(); r != nil {
		return s.Record, r, nil
	}
	return s.Record, succeeded(), nil
}

func (forgetful) Submit(_ context.Context, s job.Submission) (*job.Record, bool, error) {
	return s.Record, false, nil
}

// Whatever comes as a body is taken or refused with the contract's statuses and bodies; what is
// taken, the contract allows.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{"code":"x"}`, `{"code":"x","input_data":{"a":[1,2.50,1E400,"\ud83d\ude00"]},"timeout":5.0,"startup_timeout":20,"job_type":"short@v1","idempotency_key":"12345678","requirements":["a[b]>=1,<2"]}`,
		`{"code":"x","files":{"a":"t","b":{"base64":"AP8="}},"code_files":{"p/q.py":"1"},"filename":"a.py","stdin":"in","args":["a"],"memory_limit":"100m","cpu_limit":0.5,"environment":{"A":"b"},"metadata":{"k":"v"},"raw_stdout":true}`,
		`{"code":"x","keep_record":false,"artifacts":"inline"}`, `{"code":"x","stdin":{"base64":1}}`, `{"code":null}`, `[]`, `{"code":"x","code":"y"}`, `{`, "\xff", `{"timeout":1}`,
		`{"code":"x","timeout":1e999,"cpu_limit":-1e999,"memory_limit":"9g"}`,
	} {
		f.Add([]byte(seed))
	}
	s, err := New(Options{
		Version: "1", Runtime: "runsc", Policy: testPolicy(), Jobs: forgetful{&fakeExecutor{}}, Store: &fakeStore{}, Images: &fakeImages{}, Keys: &fakeKeys{}, Facts: func() Facts { return Facts{} },
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 10000 {
			return
		}
		for _, path := range []string{"/execute", "/execute/async", "/jobs/x/rerun", "/jobs/x/fork"} {
			q := httptest.NewRequestWithContext(context.WithValue(t.Context(), peerKey{}, uint32(1001)), http.MethodPost, path, bytes.NewReader(data))
			q.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, q)
			a := w.Result()
			text, err := io.ReadAll(a.Body)
			if err != nil {
				t.Fatal(err)
			}
			switch a.StatusCode {
			case 200, 404, 422:
			default:
				t.Errorf("%s %q: %d %s", path, data, a.StatusCode, text)
			}
			if strings.Contains(string(text), "goroutine") {
				t.Errorf("%s %q: %s", path, data, text)
			}
			loadContract(t).hold(t, q, data, a.StatusCode, a.Header, text)
		}
	})
}
