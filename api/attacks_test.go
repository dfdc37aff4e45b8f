package api

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tsubo-run/tsubo/scheduler"
)

// The keys of callers on TCP in these tests.
const (
	aliceKey = "alice-key-0123456789"
	bobKey   = "bob-key-0123456789ab"
)

// keyed is a surface that wants keys on TCP.
func keyed(p *Policy, _ *scheduler.Options) {
	p.Auth = Auth{RequireKey: true, Header: "X-API-Key", Keys: []Key{{SHA256: sha256.Sum256([]byte(aliceKey))}, {SHA256: sha256.Sum256([]byte(bobKey))}}}
}

// tcp serves the surface on a TCP port of its own and returns its address.
func (f *full) tcp(o TCPOptions) string {
	f.t.Helper()
	o.Host = "127.0.0.1"
	l, err := ListenTCP(o)
	if err != nil {
		f.t.Fatal(err)
	}
	h := f.server.HTTP()
	go func() { _ = h.Serve(l) }()
	f.t.Cleanup(func() { _ = h.Close() })
	return l.Addr().String()
}

// say sends bytes as they are and returns the status of the answer, its body, or 0 when the
// connection was closed without one.
func say(t *testing.T, network, address, text string) (int, string) {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() { _, _ = io.WriteString(c, text) }() // the answer may come before all of it was taken
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body)
}

// nothingRan fails when a probe has made a job run or left a record.
func (f *full) nothingRan(t *testing.T) {
	t.Helper()
	f.runner.mu.Lock()
	defer f.runner.mu.Unlock()
	if n := len(f.runner.specs); n > 0 {
		t.Errorf("%d jobs ran", n)
	}
	if a := f.admin.do("GET", "/executions", ""); a.body["count"] != 0.0 {
		t.Errorf("records: %s", a.text)
	}
}

// TestAttacks holds the probes of group G of the attack corpus, each under its id, on the Unix
// socket and on TCP where that differs.
func TestAttacks(t *testing.T) {
	t.Run("G01", attackSocketModes)
	t.Run("G03", attackKeys)
	t.Run("G04", attackTenants)
	t.Run("G06", attackRoutes)
	t.Run("G07", attackQueries)
	t.Run("G08", attackBodies)
	t.Run("G10", attackLimits)
	t.Run("G11", attackImages)
	t.Run("G12", attackArguments)
	t.Run("G13", attackFiles)
	t.Run("G15", attackRates)
	t.Run("G16", attackConnections)
	t.Run("G17", attackBrowsers)
}

// attackSocketModes: who is neither root nor in the group does not get in, whatever the umask was.
func attackSocketModes(t *testing.T) {
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0)
	l, err := Listen(ListenOptions{Path: filepath.Join(dir, "run", "s")})
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for path, want := range map[string]os.FileMode{filepath.Join(dir, "run"): 0o750, filepath.Join(dir, "run", "s"): 0o660} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %o", filepath.Base(path), info.Mode(), err, want)
		}
	}
	if os.Geteuid() != 0 {
		if strings.Contains(os.Getenv("TSUBO_REQUIRE"), "root") {
			t.Fatal("root is required here")
		}
		return // another uid cannot be tried
	}
	for _, path := range []string{filepath.Join(dir, "run", "s")} {
		cmd := exec.Command("curl", "-sS", "--max-time", "5", "--unix-socket", path, "http://x/health")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "ermission denied") && !strings.Contains(string(out), "ouldn't connect") && !strings.Contains(string(out), "ailed to connect") {
			t.Errorf("nobody got in: %v %s", err, out)
		}
	}
}

// attackKeys: whatever is wrong with a key, the answer is one and the same.
func attackKeys(t *testing.T) {
	f := newFull(t, keyed)
	address := f.tcp(TCPOptions{})
	ask := func(lines ...string) (int, string) {
		return say(t, "tcp", address, "GET /executions?X-API-Key="+aliceKey+" HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: c\r\nConnection: close\r\n"+strings.Join(lines, "")+"\r\n")
	}
	_, same := ask()
	for name, line := range map[string]string{
		"none": "", "wrong": "X-API-Key: 0123456789012345\r\n", "empty": "X-API-Key: \r\n", "prefix": "X-API-Key: " + aliceKey[:8] + "\r\n",
		"longer": "X-API-Key: " + aliceKey + "x\r\n", "basic": "Authorization: Basic " + aliceKey + "\r\n", "cookie": "Cookie: X-API-Key=" + aliceKey + "\r\n",
		"two": "Authorization: Bearer " + aliceKey + "\r\nAuthorization: Bearer " + bobKey + "\r\n", "bad and good": "X-API-Key: wrong-0123456789\r\nAuthorization: Bearer " + aliceKey + "\r\n",
		"its hash": "X-API-Key: sha256:abc\r\n", "not ASCII": "X-API-Key: \xff\xfe\xfd0123456789abc\r\n", "space in it": "X-API-Key: " + aliceKey[:4] + " " + aliceKey[4:] + "\r\n",
	} {
		if status, body := ask(line); status != 401 || body != same {
			t.Errorf("%s: %d %q, want 401 %q", name, status, body, same)
		}
	}
	if status, _ := ask("X-API-Key: " + aliceKey + "\x00\r\n"); status == 200 {
		t.Error("a key with a NUL behind it got in")
	}
	if status, body := ask("X-API-Key: " + aliceKey + "\r\n"); status != 200 {
		t.Errorf("the key itself: %d %s", status, body)
	}
	if status, _ := ask("Authorization: Basic eDp5\r\nX-API-Key: " + aliceKey + "\r\nAuthorization: Bearer " + aliceKey + "\r\n"); status != 200 {
		t.Errorf("the same key twice beside an Authorization of another scheme: %d", status)
	}
	if status, _ := ask("authorization: bEARER " + aliceKey + "\r\n"); status != 200 {
		t.Errorf("another case of the scheme: %d", status)
	}
	// A body that was not let in is not read.
	status, _ := say(t, "tcp", address, "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
	if status != 401 {
		t.Errorf("huge body without a key: %d, want 401 before 413", status)
	}
	f.nothingRan(t)
}

// attackTenants: another's job is not there, in the same words as a job that never was.
func attackTenants(t *testing.T) {
	f := newFull(t)
	id := f.alice.submit("out secret\nfile a.txt secret", "idempotency_key", "key-of-alice", "metadata", map[string]string{"team": "a"})
	f.alice.result(id)
	for _, try := range [][2]string{
		{"GET", "/jobs/%s"}, {"GET", "/jobs/%s/result"}, {"GET", "/jobs/%s/result?wait=true&timeout=1"}, {"GET", "/jobs/%s/events"}, {"POST", "/jobs/%s/cancel"},
		{"POST", "/jobs/%s/rerun"}, {"GET", "/jobs/%s/artifacts/a.txt"}, {"HEAD", "/jobs/%s/artifacts/a.txt"}, {"GET", "/executions/%s"}, {"DELETE", "/executions/%s"},
	} {
		his := f.bob.raw(try[0], fmt.Sprintf(try[1], id), "{}", "X-Correlation-ID", "c")
		none := f.bob.raw(try[0], fmt.Sprintf(try[1], "00000000-0000-4000-8000-000000000000"), "{}", "X-Correlation-ID", "c")
		if his.status != 404 || his.text != none.text {
			t.Errorf("%s %s: %d %q; for one that never was: %d %q", try[0], try[1], his.status, his.text, none.status, none.text)
		}
	}
	if a := f.bob.do("POST", "/jobs/"+id+"/fork", `{"code":"out x"}`); a.status != 404 {
		t.Errorf("fork: %d %s", a.status, a.text)
	}
	for _, query := range []string{"", "?status=succeeded", "?job_type=default", "?metadata.team=a", "?limit=1000"} {
		if a := f.bob.do("GET", "/executions"+query, ""); strings.Contains(a.text, id) {
			t.Errorf("list%s shows it: %s", query, a.text)
		}
	}
	// The same key of another caller is another key.
	if other := f.bob.submit("out mine", "idempotency_key", "key-of-alice"); other == id {
		t.Error("one caller's idempotency key found another's job")
	}
	if a := f.alice.do("GET", "/jobs/"+id, ""); a.status != 200 || a.body["status"] != "succeeded" {
		t.Errorf("after all that: %s", a.text)
	}
}

// attackRoutes: no second spelling of a path, no other method, no id that is more than a name.
func attackRoutes(t *testing.T) {
	f := newFull(t)
	for _, id := range []string{
		"..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "'%3B%20DROP%20TABLE%20jobs%3B--", strings.Repeat("a", 8192), "*", "%00", "a%00b", "x.", "%ff", "..", "%252e%252e",
	} {
		if a := f.alice.raw("GET", "/jobs/"+id, ""); a.status != 404 && a.status != 400 {
			t.Errorf("id %.30q: %d %s", id, a.status, a.text)
		}
		if a := f.alice.raw("GET", "/jobs/x/artifacts/"+id, ""); a.status != 404 && a.status != 400 {
			t.Errorf("artifact %.30q: %d %s", id, a.status, a.text)
		}
	}
	for path, want := range map[string]int{
		"//executions": 404, "/executions/": 404, "/EXECUTIONS": 404, "/executions/x/../../keys": 404, "/%65xecutions": 404, "/executions;a=b": 404, "/debug/pprof/": 404, "/metrics": 404, "/.git/config": 404,
	} {
		if a := f.alice.raw("GET", path, ""); a.status != want {
			t.Errorf("GET %s: %d, want %d", path, a.status, want)
		}
	}
	for _, method := range []string{"TRACE", "PUT", "PATCH", "OPTIONS", "CONNECT"} {
		status, _ := say(t, "unix", f.alice.socket, method+" /execute HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if status != 405 && status != 404 && status != 400 {
			t.Errorf("%s: %d", method, status)
		}
	}
	if a := f.alice.raw("GET", "/execute", body("out x"), "X-HTTP-Method-Override", "POST"); a.status != 405 {
		t.Errorf("method override: %d", a.status)
	}
	f.nothingRan(t)
}

// attackQueries: what comes in a query is compared or counted, never run.
func attackQueries(t *testing.T) {
	f := newFull(t)
	id := f.alice.submit("out x")
	f.alice.result(id)
	for query, want := range map[string]int{
		"limit=-1": 422, "limit=1e9": 422, "limit=0": 422, "limit=1001": 422, "limit=%27": 422, "offset=-1": 422, "limit=1%20OR%201": 422, "limit=9999999999999999999999": 422,
		"status=%27%20OR%201%3D1--": 200, "status=%25": 200, "job_type=_%25": 200, "status=succeeded%00": 200,
	} {
		a := f.alice.do("GET", "/executions?"+query, "")
		if a.status != want || want == 200 && a.body["count"] != 0.0 {
			t.Errorf("%s: %d %s", query, a.status, a.text)
		}
		for _, word := range []string{"sqlite", "SQL", "syntax", "SELECT"} {
			if strings.Contains(a.text, word) {
				t.Errorf("%s: the answer speaks of %s: %s", query, word, a.text)
			}
		}
	}
}

// attackBodies: sizes and encodings end early, and who asks twice at once is asked to leave.
func attackBodies(t *testing.T) {
	f := newFull(t)
	s := f.alice.socket
	head := "POST /execute HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
	chunk := "8000\r\n" + strings.Repeat("x", 0x8000) + "\r\n"
	for name, c := range map[string]struct {
		text string
		want []int
	}{
		"1 GiB announced":          {head + "Content-Length: 1073741824\r\n\r\n", []int{413}},
		"endless chunks":           {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 64), []int{413}},
		"two lengths":              {head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}", []int{400}},
		"length and chunks":        {head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", []int{400, 422}},
		"an unknown encoding":      {head + "Transfer-Encoding: gzip\r\n\r\n", []int{501, 400}},
		"gzip as content encoding": {head + "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00", []int{422, 415}},
		"100,000 headers":          {head + strings.Repeat("A: b\r\n", 100000) + "\r\n", []int{431, 0}},
		"a header of 1 MiB":        {head + "A: " + strings.Repeat("b", 1<<20) + "\r\n\r\n", []int{431, 0}},
		"body on GET over the cap": {"GET /executions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", []int{413}},
		"a body in no length":      {head + "Content-Length: 0\r\n\r\n" + body("out x"), []int{422}},
		"negative length":          {head + "Content-Length: -1\r\n\r\n", []int{400}},
	} {
		status, text := say(t, "unix", s, c.text)
		ok := false
		for _, want := range c.want {
			ok = ok || status == want
		}
		if !ok {
			t.Errorf("%s: %d %.100s, want %v", name, status, text, c.want)
		}
	}
	f.nothingRan(t)
}

// attackLimits: what is over or under its bounds is refused by name, never clamped, never
// unlimited.
func attackLimits(t *testing.T) {
	f := newFull(t)
	for _, pair := range []string{
		`"timeout":0`, `"timeout":-1`, `"timeout":1e309`, `"timeout":NaN`, `"timeout":9223372037`, `"timeout":1.5`, `"timeout":"5"`, `"timeout":true`, `"timeout":301`, `"timeout":[5]`,
		`"startup_timeout":9`, `"startup_timeout":601`, `"startup_timeout":9223372036854775808`,
		`"memory_limit":"0"`, `"memory_limit":"10GG"`, `"memory_limit":"1e3m"`, `"memory_limit":"-1m"`, `"memory_limit":"99999999999999999999m"`, `"memory_limit":"64g"`, `"memory_limit":5`,
		`"cpu_limit":0`, `"cpu_limit":1e-9`, `"cpu_limit":-1`, `"cpu_limit":64`, `"cpu_limit":"1"`, `"cpu_limit":1e400`,
	} {
		if a := f.alice.do("POST", "/execute", `{"code":"out x",`+pair+`}`); a.status != 422 {
			t.Errorf("%s: %d %s", pair, a.status, a.text)
		}
	}
	f.nothingRan(t)
}

// attackImages: a name is a name; nothing that means more to a shell, a registry client or a path
// is one.
func attackImages(t *testing.T) {
	f := newFull(t)
	for _, name := range []string{
		"--network=host", "-v", "a;id", "$(id)", "a\n--x", "oci:/etc", "dir:/", "docker-archive:/etc/shadow", "file:///", "http://169.254.169.254/x",
		"../x", "/etc", "[::1]:80/x", "user:pw@h/x", strings.Repeat("a", 65536), "p\u0443thon", "A", "", "a//b", "a/../b", "a\x00b",
	} {
		q := f.admin.request("POST", "/images", "x")
		query := q.URL.Query()
		query.Set("name", name)
		q.URL.RawQuery = query.Encode()
		a := f.admin.exchange(q)
		if a.status != 422 && a.status != 431 && a.status != 400 && a.status != 414 {
			t.Errorf("name %.40q: %d %s", name, a.status, a.text)
		}
	}
	for _, jobType := range []string{"../x", "a b", "--x", "default@", "a;b", strings.Repeat("a", 129), "sha256:x"} {
		text, _ := json.Marshal(jobType)
		if a := f.alice.do("POST", "/execute", `{"code":"out x","job_type":`+string(text)+`}`); a.status != 422 && a.status != 404 {
			t.Errorf("job type %q: %d %s", jobType, a.status, a.text)
		}
	}
	f.nothingRan(t)
}

// attackArguments: arguments and environment are data of the job, and names that mean something to
// a loader are not anybody's to set.
func attackArguments(t *testing.T) {
	f := newFull(t)
	for _, pair := range []string{
		`"args":"x"`, `"args":["a\u0000b"]`, `"args":[5]`, `"args":["` + strings.Repeat("a", 5000) + `"]`, `"args":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 300), ",") + `]`,
		`"environment":{"":"x"}`, `"environment":{"A=B":"x"}`, `"environment":{"A\n":"x"}`, `"environment":{"PATH":"/tmp"}`, `"environment":{"LD_PRELOAD":"/tmp/x"}`,
		`"environment":{"GODEBUG":"x"}`, `"environment":{"RUNSC_X":"x"}`, `"environment":{"PYTHONPATH":"/tmp"}`, `"environment":["A"]`, `"environment":{"A":5}`,
		`"stdin":5`, `"command":["/bin/sh"]`, `"image":"x"`, `"network":true`,
	} {
		if a := f.alice.do("POST", "/execute", `{"code":"out x",`+pair+`}`); a.status != 422 {
			t.Errorf("%.60s: %d %s", pair, a.status, a.text)
		}
	}
	f.nothingRan(t)
}

// attackFiles: every file of a job lies below /input or /code, at most 8 names deep.
func attackFiles(t *testing.T) {
	f := newFull(t)
	many := map[string]string{}
	for i := range 1000 {
		many[fmt.Sprint("f", i)] = ""
	}
	tooMany, _ := json.Marshal(many)
	for _, files := range []string{
		`{"a":"","a/b":""}`, `{"a/b/c":"","a/b":""}`, `{"a/../b":""}`, `{"./a":""}`, `{"a/.":""}`, `{"a/":""}`, `{"/a":""}`, `{"1/2/3/4/5/6/7/8/9":""}`,
		`{"../x":"a"}`, `{"/etc/x":"a"}`, `{"a/../../x":"a"}`, `{"x\u0000y":"a"}`, `{"":"a"}`, `{".":"a"}`, `{"..":"a"}`, `{"a//b":"a"}`, `{"a/b\\c":"a"}`, `{"a\\b":"a"}`,
		`{"a":"1","a":"2"}`, `{"a":{"base64":"!"}}`, `{"a":{"base64":"YQ==","x":1}}`, `{"a":5}`, `["a"]`, `{"` + strings.Repeat("n", 256) + `":"a"}`, string(tooMany),
	} {
		for _, key := range []string{"files", "code_files"} {
			if a := f.alice.do("POST", "/execute", `{"code":"out x","`+key+`":`+files+`}`); a.status != 422 {
				t.Errorf("%s: %.60s: %d %.200s", key, files, a.status, a.text)
			}
		}
	}
	f.nothingRan(t)
}

// attackRates: one identity is one account, however it asks; another's is not touched.
func attackRates(t *testing.T) {
	f := newFull(t, keyed, func(p *Policy, _ *scheduler.Options) {
		p.Auth.Requests, p.Auth.UnixRequests, p.Auth.WindowSeconds = 5, 3, 3600
	})
	address := f.tcp(TCPOptions{})
	ask := func(path, more string) int { // a connection of its own each time
		status, _ := say(t, "tcp", address, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+more+"\r\n")
		return status
	}
	alice := "X-API-Key: " + aliceKey + "\r\n"
	for i, path := range []string{"/executions", "/executions/", "/EXECUTIONS", "/%65xecutions", "/nothing"} { // spellings and 404s count
		if status := ask(path, alice+fmt.Sprintf("X-Forwarded-For: 10.0.0.%d\r\n", i)); status == 429 {
			t.Errorf("request %d: 429", i+1)
		}
	}
	if status := ask("/executions", alice+"X-Forwarded-For: 10.9.9.9\r\n"); status != 429 {
		t.Errorf("the sixth: %d", status)
	}
	if status := ask("/executions", "X-API-Key: "+bobKey+"\r\n"); status != 200 {
		t.Errorf("another key: %d", status)
	}
	for range 5 {
		if status := ask("/executions", "X-API-Key: guess-0123456789\r\n"); status != 401 {
			t.Errorf("a guess: %d", status)
		}
	}
	if status := ask("/executions", "X-API-Key: another-guess-0123\r\n"); status != 429 {
		t.Errorf("the sixth guess: %d", status)
	}
	if status := ask("/health", ""); status != 200 {
		t.Errorf("health: %d", status)
	}
	for i := range 4 {
		a := f.alice.do("GET", "/executions", "")
		if limited := a.status == 429; limited != (i == 3) || limited && a.header.Get("Retry-After") == "" {
			t.Errorf("request %d of a uid: %d %v", i+1, a.status, a.header)
		}
	}
	if a := f.bob.do("GET", "/executions", ""); a.status != 200 {
		t.Errorf("another uid: %d", a.status)
	}
}

// attackConnections: idle and slow connections end, there are only so many, and none of them keeps
// local callers out.
func attackConnections(t *testing.T) {
	f := newFull(t, keyed)
	address := f.tcp(TCPOptions{MaxConns: 20})
	var held []net.Conn
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	for range 100 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		held = append(held, c)
		_, _ = io.WriteString(c, "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	}
	open := 0
	for _, c := range held {
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); err != nil && os.IsTimeout(err) {
			open++
		}
	}
	if open > 20 {
		t.Errorf("%d connections are open, want at most 20", open)
	}
	if a := f.alice.do("GET", "/health", ""); a.status != 200 {
		t.Errorf("a local caller: %d", a.status)
	}
	// Neither HTTP/2 by prior knowledge nor an upgrade to it.
	status, _ := say(t, "unix", f.alice.socket, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if status != 0 && status != 400 && status != 505 && status != 404 && status != 405 {
		t.Errorf("h2c: %d", status)
	}
	status, _ = say(t, "unix", f.alice.socket, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n")
	if status != 200 {
		t.Errorf("upgrade: %d, want a plain answer", status)
	}
	h := f.server.HTTP()
	if h.ReadHeaderTimeout <= 0 || h.ReadHeaderTimeout > time.Minute || h.IdleTimeout <= 0 || h.MaxHeaderBytes > 1<<20 {
		t.Errorf("bounds: header %s, idle %s, %d bytes", h.ReadHeaderTimeout, h.IdleTimeout, h.MaxHeaderBytes)
	}
}

// attackBrowsers: a page of another site gets nothing out of a daemon on loopback.
func attackBrowsers(t *testing.T) {
	f := newFull(t, func(p *Policy, _ *scheduler.Options) { p.Auth = Auth{LoopbackRole: LoopbackAdmin} })
	address := f.tcp(TCPOptions{})
	post := func(host, more string) (int, string) {
		text := body("out x")
		return say(t, "tcp", address, fmt.Sprintf("POST /execute HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", host, more, len(text), text))
	}
	for name, c := range map[string][2]string{
		"DNS rebinding":           {"evil.example", "Content-Type: application/json\r\n"},
		"another site's form":     {address, "Content-Type: text/plain\r\nOrigin: http://evil.example\r\n"},
		"a sandboxed frame":       {address, "Content-Type: text/plain\r\nOrigin: null\r\n"},
		"another port's page":     {address, "Content-Type: application/json\r\nOrigin: http://127.0.0.1:1\r\n"},
		"a host that looks local": {"localhost.evil.example:80", "Content-Type: application/json\r\n"},
	} {
		if status, text := post(c[0], c[1]); status != 403 && status != 415 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	status, text := say(t, "tcp", address, "OPTIONS /execute HTTP/1.1\r\nHost: "+address+"\r\nOrigin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n\r\n")
	if status == 200 || status == 204 || strings.Contains(text, "Allow-Origin") {
		t.Errorf("preflight: %d %s", status, text)
	}
	for _, path := range []string{"/debug/pprof/", "/metrics", "/debug/vars"} {
		if status, _ := say(t, "tcp", address, "GET "+path+" HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n"); status != 404 && status != 401 {
			t.Errorf("%s: %d", path, status)
		}
	}
	f.nothingRan(t)
	if status, text := post(address, "Content-Type: application/json\r\n"); status != 200 {
		t.Errorf("an honest local caller: %d %s", status, text)
	}
	// Without the switch nobody gets in over TCP at all.
	shut := newFull(t)
	address = shut.tcp(TCPOptions{})
	if status, _ := say(t, "tcp", address, "GET /executions HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n"); status != 403 {
		t.Errorf("no TCP listener at all: %d", status)
	}
}
