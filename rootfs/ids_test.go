package rootfs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFreeIDs(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  uint32 // 0: an error
	}{
		"no files":             {nil, 1 << 20},
		"others elsewhere":     {map[string]string{"subuid": "a:100000:65536\nb:2097152:65536\n", "passwd": "root:x:0:0::/:/bin/sh\n"}, 1 << 20},
		"just below and above": {map[string]string{"subuid": "a:1048575:1\nb:1114112:1\n"}, 1 << 20},
		"first id":             {map[string]string{"subuid": "a:1048576:1\n"}, 17 << 16},
		"last id, of groups":   {map[string]string{"subgid": "a:1114111:1\n"}, 17 << 16},
		"many in a row":        {map[string]string{"subuid": "b:1114112:65536\na:983040:131072\n", "subgid": "c:1179648:65537\n"}, 20 << 16},
		"a user":               {map[string]string{"passwd": "x:x:1048600:100::/:/bin/sh\n"}, 17 << 16},
		"a group":              {map[string]string{"group": "x:x:1048600:\n"}, 17 << 16},
		"no numbers":           {map[string]string{"subuid": "a:b:c\n#\n\na:1048576\na:-1:9\na:1048576:0\n"}, 1 << 20},
		"all":                  {map[string]string{"subuid": "a:1:4294967295\n"}, 0},
	} {
		etc := t.TempDir()
		for file, text := range c.files {
			if err := os.WriteFile(filepath.Join(etc, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := FreeIDs(etc); got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%s: %d, %v: want %d", name, got, err, c.want)
		}
	}
	etc := t.TempDir()
	if err := os.Mkdir(filepath.Join(etc, "subuid"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := FreeIDs(etc); err == nil {
		t.Errorf("a file that cannot be read: %d", got)
	}
}
