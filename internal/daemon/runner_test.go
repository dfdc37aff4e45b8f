package daemon

import (
	"maps"
	"testing"

	"github.com/tsubo-run/tsubo/job"
)

func TestBootEnvironment(t *testing.T) {
	ofType := map[string]string{"A": "type", "PYTHONHASHSEED": "1"}
	for name, c := range map[string]struct {
		language job.Language
		change   map[string]string
		boot     bool // the whole environment must be set at boot
	}{
		"nothing":                     {job.Python, nil, false},
		"one that programs read":      {job.Python, map[string]string{"A": "job", "B": "job", "PATH": "/x"}, false},
		"one of the type's, the same": {job.Python, map[string]string{"B": "job", "PYTHONHASHSEED": "1"}, false},
		"one of the type's, another":  {job.Python, map[string]string{"PYTHONHASHSEED": "2"}, true},
		"one of the interpreter's":    {job.Python, map[string]string{"PYTHONWARNINGS": "error"}, true},
		"one of Node's":               {job.Node, map[string]string{"NODE_OPTIONS": "--no-warnings"}, true},
		"one of the loader's":         {job.Python, map[string]string{"LD_LIBRARY_PATH": "/x"}, true},
		"a locale":                    {job.Python, map[string]string{"LC_ALL": "C"}, true},
		"a time zone":                 {job.Python, map[string]string{"TZ": "UTC"}, true},
		"nothing waits for a command": {job.Command, map[string]string{"LD_LIBRARY_PATH": "/x"}, false},
	} {
		whole := maps.Clone(ofType)
		maps.Copy(whole, c.change)
		want := ofType
		if c.boot {
			want = whole
		}
		if got := bootEnvironment(&job.Spec{Language: c.language, Environment: whole}, ofType); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
