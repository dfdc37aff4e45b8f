package api

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// canonical is JSON as Python's json.dumps writes it with sorted keys, no spaces and no ASCII
// escapes, but for numbers, whose text is kept (ruling 13). data is JSON that the decoder has
// taken.
func canonical(data []byte) []byte {
	v, err := strictjson.Parse(data)
	if err != nil {
		panic(fmt.Sprintf("canonical form of what is no JSON: %v", err)) // it was decoded before
	}
	return appendCanonical(make([]byte, 0, len(data)), v)
}

func appendCanonical(b []byte, v strictjson.Value) []byte {
	switch v.Kind() {
	case strictjson.String:
		return appendText(b, v.Text())
	case strictjson.Array:
		b = append(b, '[')
		for i, e := range v.Elements() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCanonical(b, e)
		}
		return append(b, ']')
	case strictjson.Dict:
		members := v.Members()
		// Bytes of UTF-8 sort as code points do.
		slices.SortFunc(members, func(a, b strictjson.Member) int { return strings.Compare(a.Name, b.Name) })
		b = append(b, '{')
		for i, m := range members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, m.Name), ':')
			b = appendCanonical(b, m.Value)
		}
		return append(b, '}')
	}
	return append(b, v.Raw()...)
}

func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\n':
			b = append(b, `\n`...)
		case '\r':
			b = append(b, `\r`...)
		case '\t':
			b = append(b, `\t`...)
		case '\b':
			b = append(b, `\b`...)
		case '\f':
			b = append(b, `\f`...)
		default:
			if r < 0x20 {
				b = fmt.Appendf(b, `\u%04x`, r)
				continue
			}
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// fingerprint distinguishes payloads under one idempotency key (wire.md 1.2). What tsubo adds to a
// request counts when it is there.
func fingerprint(r *job.Request, metadata map[string]string) string {
	ref := r.JobType
	if ref == "" {
		ref = job.DefaultType
	}
	requirements := r.Requirements
	if requirements == nil {
		requirements = []string{}
	}
	all := map[string]any{
		"code": hash([]byte(r.Code)), "input_data": hash(canonical(r.Input)), "job_type": ref,
		"timeout": r.Timeout, "startup_timeout": r.StartupTimeout, "requirements": requirements,
	}
	for key, list := range map[string][]job.File{"files": r.Files, "code_files": r.CodeFiles} {
		if len(list) > 0 {
			files := make(map[string]string, len(list))
			for _, f := range list {
				files[f.Name] = hash(f.Data)
			}
			all[key] = files
		}
	}
	if r.Filename != "" {
		all["filename"] = r.Filename
	}
	if len(r.Stdin) > 0 {
		all["stdin"] = hash(r.Stdin)
	}
	if len(r.Args) > 0 {
		all["args"] = r.Args
	}
	if r.MemoryLimit != 0 {
		all["memory_limit"] = r.MemoryLimit
	}
	if r.CPULimit != 0 {
		all["cpu_limit"] = strconv.FormatFloat(r.CPULimit, 'g', -1, 64)
	}
	if len(r.Environment) > 0 {
		all["environment"] = r.Environment
	}
	if r.RawStdout {
		all["raw_stdout"] = true
	}
	if len(metadata) > 0 {
		all["metadata"] = metadata
	}
	data, err := json.Marshal(all)
	if err != nil {
		panic(fmt.Sprintf("encode fingerprint: %v", err)) // strings and numbers only
	}
	return hash(canonical(data))
}
