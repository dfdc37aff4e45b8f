package api

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/tsubo-run/tsubo/scheduler"
)

// logBuffer may be written to by several at once.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines that hold all the parts.
func (l *logBuffer) lines(parts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range strings.Split(l.b.String(), "\n") {
		all := line != ""
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			n++
		}
	}
	return n
}

func TestAudit(t *testing.T) {
	f := newFull(t, keyed)
	log := &logBuffer{}
	f.server.log = slog.New(slog.NewTextHandler(log, nil))
	address := f.tcp(TCPOptions{})
	r := newRig(t, 0)
	r.server.log = f.server.log
	r.do("POST", "/keys", `{"name":"ci"}`, "X-Correlation-ID", "made")
	r.raw("DELETE", "/keys/000000000001", "", "X-Correlation-ID", "gone")
	r.do("GET", "/check", "", "X-Correlation-ID", "checked")
	r.do("GET", "/executions", "", "X-Correlation-ID", "plain")
	say(t, "tcp", address, "GET /executions HTTP/1.1\r\nHost: x\r\nX-Correlation-ID: refused\r\nConnection: close\r\nX-API-Key: secret-0123456789\r\n\r\n")
	for _, parts := range [][]string{
		{"audit.identity=uid:0", `audit.act="POST /keys"`, "audit.subject=000000000001", "audit.status=201", "audit.correlation_id=made"},
		{`audit.act="DELETE /keys/{key_id}"`, "audit.subject=000000000001", "audit.status=204", "audit.correlation_id=gone"},
		{`audit.act="GET /check"`, "audit.correlation_id=checked"},
		{"audit.identity=ip:127.0.0.1", "key refused", "audit.correlation_id=refused"},
	} {
		if n := log.lines(parts...); n != 1 {
			t.Errorf("%d lines with %q in\n%s", n, parts, log.b.String())
		}
	}
	if log.lines("correlation_id=plain") != 0 || log.lines("secret-0123456789") != 0 {
		t.Errorf("logged what must not be:\n%s", log.b.String())
	}
}

// What an admin does to another caller's job is logged; what anybody does to their own, or only
// reads, is not.
func TestAuditOfOthersJobs(t *testing.T) {
	f := newFull(t)
	log := &logBuffer{}
	f.server.log = slog.New(slog.NewTextHandler(log, nil))
	alice, _, admin := f.on(t)
	hers, own := alice.submit("wait"), admin.submit("out own")
	admin.result(own)
	admin.do("GET", "/jobs/"+hers, "").ok(t)
	admin.do("POST", "/jobs/"+hers+"/cancel", "").ok(t)
	alice.do("POST", "/jobs/"+hers+"/rerun", "{}").ok(t)
	admin.raw("DELETE", "/executions/"+own, "")
	admin.raw("DELETE", "/executions/"+hers, "")
	for _, act := range []string{"POST /jobs/{job_id}/cancel", "DELETE /executions/{execution_id}"} {
		if n := log.lines("admin act", `audit.act="`+act+`"`, "audit.identity=uid:0", "audit.subject="+hers); n != 1 {
			t.Errorf("%d lines of %s in\n%s", n, act, log.b.String())
		}
	}
	if n := log.lines("admin act"); n != 2 {
		t.Errorf("%d lines:\n%s", n, log.b.String())
	}
}

// A page of another site makes a keyless daemon on loopback do nothing, also by a GET, which has no
// Origin.
func TestCrossSiteGETs(t *testing.T) {
	f := newFull(t, func(p *Policy, _ *scheduler.Options) { p.Auth = Auth{LoopbackRole: LoopbackAdmin} })
	address := f.tcp(TCPOptions{})
	for _, c := range []struct {
		path, site string
		refused    bool
	}{
		{"/backup", "cross-site", true}, {"/check", "cross-site", true}, {"/check", "same-site", true}, {"/executions", "cross-site", true},
		{"/check", "same-origin", false}, {"/check", "none", false}, {"/check", "", false}, {"/health", "cross-site", false}, {"/docs", "cross-site", false},
	} {
		line := ""
		if c.site != "" {
			line = "Sec-Fetch-Site: " + c.site + "\r\n"
		}
		status, _ := say(t, "tcp", address, "GET "+c.path+" HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n"+line+"\r\n")
		if (status == 403) != c.refused {
			t.Errorf("%s from %q: %d", c.path, c.site, status)
		}
	}
}
