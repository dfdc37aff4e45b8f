package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strings"

	"github.com/tsubo-run/tsubo/api/strictjson"
	"github.com/tsubo-run/tsubo/job"
)

// Bounds of the schema; the configured ceilings are checked after it, with sentences of their own
// (wire.md 1.1).
const (
	schemaMaxTimeout = 86400
	schemaMinStartup = 10
	schemaMaxStartup = 600
)

// Bounds of what tsubo adds to the request.
const (
	maxFiles         = 256
	maxArgs          = 256
	maxArgBytes      = 4096
	maxArgsBytes     = 128 << 10 // args and environment together: they travel in one frame, and share the kernel's room for argv
	maxVariables     = 64
	maxLabels        = 16
	maxLabelValue    = 256 // characters
	schemaMaxCPU     = 1024
	schemaMinCPU     = 0.1
	inputFileName    = "data.json" // what tsubo itself writes below /input
	requirementsName = "_requirements.txt"
)

var (
	jobTypeRE     = regexp.MustCompile(`^[a-zA-Z0-9_-]+(@[a-zA-Z0-9_.@:-]+)?$`)
	idempotencyRE = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	labelRE       = regexp.MustCompile(`^[a-zA-Z0-9_]([a-zA-Z0-9_./-]{0,61}[a-zA-Z0-9_])?$`)
	jobTypeRule   = strictjson.StringRule{Max: 128, Pattern: jobTypeRE}
)

// asked is the body of POST /execute and /execute/async after the schema's rules.
type asked struct {
	request  *job.Request
	key      string
	metadata map[string]string
	inline   bool // artifacts come in the answer
	keep     bool // a record is kept
}

// decodeExecute reads a body by the schema. When it returns false it has answered.
func (c *call) decodeExecute(async bool) (*asked, bool) {
	o, ok := c.object()
	if !ok {
		return nil, false
	}
	p := c.policy
	r := &job.Request{Input: json.RawMessage("{}")}
	a := &asked{request: r}
	if code := o.String("code", codeRule(p)); code != nil {
		r.Code = *code
	}
	if v := o.JSONObject("input_data"); v.Present() {
		r.Input = v.Raw()
		if n := int64(len(r.Input)); n > p.MaxInputBytes {
			o.ReportValue(fmt.Sprintf("input_data must be at most %d bytes of JSON, not %d", p.MaxInputBytes, n), v, "input_data")
		}
	}
	r.Timeout = o.Int("timeout", 1, schemaMaxTimeout)
	r.StartupTimeout = o.Int("startup_timeout", schemaMinStartup, schemaMaxStartup)
	r.JobType = text(o.String("job_type", jobTypeRule))
	a.key = text(o.String("idempotency_key", strictjson.StringRule{Min: 8, Max: 255, Pattern: idempotencyRE})) // a sync run has no use for it
	r.Requirements = o.Strings("requirements", job.MaxRequirements, strictjson.StringRule{Check: job.CheckRequirement})
	decodeMore(o, r)
	a.metadata = o.Texts("metadata", maxLabels, checkLabel, strictjson.StringRule{Max: maxLabelValue, Check: checkLabelValue})
	inline, keep := o.Value("artifacts"), o.Value("keep_record")
	a.inline = o.OneOf("artifacts", job.ArtifactsInline) != ""
	a.keep = o.Bool("keep_record", true)
	if async && a.inline {
		o.ReportValue("artifacts come in the answer of POST /execute only", inline, "artifacts")
	}
	if async && !a.keep {
		o.ReportValue("a queued job always has a record", keep, "keep_record")
	}
	return a, c.done(o)
}

// decodeMore reads what tsubo adds to a request for the run itself.
func decodeMore(o *strictjson.Object, r *job.Request) {
	r.Filename = text(o.String("filename", strictjson.StringRule{Min: 1, Check: job.CheckFileName}))
	r.CodeFiles = decodeFiles(o, "code_files", job.CheckFilePath)
	r.Files = decodeFiles(o, "files", checkInputName)
	if v := o.Value("stdin"); v.Present() && v.Kind() != strictjson.Null {
		r.Stdin, _ = content(o, v, "stdin")
	}
	args := o.Value("args")
	r.Args = o.Strings("args", maxArgs, strictjson.StringRule{MaxBytes: maxArgBytes, Check: noNUL})
	if v := o.Value("memory_limit"); v.Present() && v.Kind() != strictjson.Null {
		o.String("memory_limit", strictjson.StringRule{Check: func(s string) (err error) {
			if r.MemoryLimit, err = job.ParseMemory(s); err == nil && r.MemoryLimit < job.MinMemory {
				err = errors.New("must be at least 64m")
			}
			return err
		}})
	}
	if n := o.Float("cpu_limit", schemaMinCPU, schemaMaxCPU); n != nil {
		r.CPULimit = *n
	}
	r.RawStdout = o.Bool("raw_stdout", false)
	r.Environment = o.Texts("environment", maxVariables, job.CheckEnvKey, strictjson.StringRule{Check: job.CheckEnvValue})
	total := 0
	for _, a := range r.Args {
		total += len(a) + 1
	}
	for k, v := range r.Environment {
		total += len(k) + len(v) + 2
	}
	if total > maxArgsBytes {
		o.ReportValue(fmt.Sprintf("args and environment together must have at most %d bytes, not %d", maxArgsBytes, total), args, "args")
	}
}

// decodeFiles reads an object of files by their paths below the job's folder.
func decodeFiles(o *strictjson.Object, key string, check func(name string) error) []job.File {
	var files []job.File
	var names []string
	whole := o.Value(key)
	o.Each(key, maxFiles, check, func(name string, v strictjson.Value) bool {
		data, ok := content(o, v, key, name)
		files, names = append(files, job.File{Name: name, Data: data}), append(names, name)
		return ok
	})
	if i, err := job.CheckFileTree(names); err != nil {
		o.ReportValue(err.Error(), whole, key, names[i])
	}
	return files
}

// content reads a text, or {"base64": …}.
func content(o *strictjson.Object, v strictjson.Value, path ...any) ([]byte, bool) {
	if v.Kind() == strictjson.String {
		return []byte(v.Text()), true
	}
	if v.Kind() != strictjson.Dict {
		o.Report("string_type", `Input should be a valid string or {"base64": string}`, v, nil, path...)
		return nil, false
	}
	var data []byte
	inner := o.Under(v, path...)
	inner.String("base64", strictjson.StringRule{Required: true, Check: func(s string) (err error) {
		if data, err = base64.StdEncoding.Strict().DecodeString(s); err != nil || strings.ContainsAny(s, "\r\n") {
			return errors.New("must be base64 with padding, without line breaks")
		}
		return nil
	}})
	return data, o.Merge(inner)
}

func codeRule(p *Policy) strictjson.StringRule {
	return strictjson.StringRule{Required: true, Min: 1, MaxBytes: int(p.MaxCodeBytes), Check: notBlank}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// done ends the decoding of a body. When it returns false it has answered.
func (c *call) done(o *strictjson.Object) bool {
	problems := o.Done()
	if problems != nil {
		c.invalid(problems)
	}
	return problems == nil
}

// object parses the body as a JSON object. When it returns false it has answered.
func (c *call) object() (*strictjson.Object, bool) {
	if t := c.Header.Get("Content-Type"); t != "" && len(c.body) > 0 {
		media, _, err := mime.ParseMediaType(t)
		if err != nil || !isJSON(media) {
			c.invalid([]strictjson.Problem{{
				Type: "model_attributes_type", Loc: []any{"body"}, Input: json.RawMessage("null"),
				Msg: "Input should be a valid dictionary or object to extract fields from (Content-Type must be application/json)",
			}})
			return nil, false
		}
	}
	o, problems := strictjson.Body(c.body, "body")
	if problems != nil {
		c.invalid(problems)
		return nil, false
	}
	return o, true
}

func isJSON(media string) bool {
	return media == "application/json" || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

// notBlank refuses what Python's str.strip leaves nothing of.
func notBlank(code string) error {
	if strings.Trim(strings.TrimSpace(code), "\x1c\x1d\x1e\x1f \t\n\r\v\f") == "" {
		return errors.New("code must not be empty or whitespace")
	}
	return nil
}

func noNUL(s string) error {
	if strings.ContainsRune(s, 0) {
		return errors.New("must not contain NUL")
	}
	return nil
}

// checkInputName is the rule for the name of a file below /input.
func checkInputName(name string) error {
	if err := job.CheckFilePath(name); err != nil {
		return err
	}
	if first, _, _ := strings.Cut(name, "/"); slices.Contains([]string{inputFileName, requirementsName}, first) {
		return fmt.Errorf("%s is a name that tsubo itself uses in /input", name)
	}
	return nil
}

func checkLabel(name string) error {
	if !labelRE.MatchString(name) {
		return fmt.Errorf("label name of %d bytes: must be 1 to 63 of [a-zA-Z0-9_./-], beginning and ending with a letter, digit or _", len(name))
	}
	return nil
}

func checkLabelValue(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return errors.New("must not contain control characters")
	}
	return nil
}
