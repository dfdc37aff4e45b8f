package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// contract is the OpenAPI document as the server serves it, and a router over it.
type contract struct {
	doc    *openapi3.T
	router routers.Router
}

var theContract = sync.OnceValues(func() (*contract, error) {
	s := &Server{}
	if err := s.document(); err != nil {
		return nil, err
	}
	loader := openapi3.NewLoader()
	loader.IsExternalRefsAllowed = false
	doc, err := loader.LoadFromData(s.openAPI)
	if err != nil {
		return nil, err
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		return nil, err
	}
	for _, kind := range []string{"text/event-stream", "text/html", "text/csv", "image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf", "multipart/byteranges", "application/x-tar"} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.FileBodyDecoder)
	}
	return &contract{doc, router}, nil
})

func loadContract(t *testing.T) *contract {
	t.Helper()
	c, err := theContract()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// hold holds one exchange to the contract. Requests are held to it when the server took them. A
// route that the contract does not know must be answered as one that is not there.
func (k *contract) hold(t *testing.T, q *http.Request, body []byte, status int, header http.Header, answer []byte) {
	t.Helper()
	// The router wants a path; what the contract's own document says about escapes is not its
	// matter.
	q = q.Clone(context.Background())
	q.Body = io.NopCloser(bytes.NewReader(body))
	q.ContentLength = int64(len(body))
	q.URL = &url.URL{Path: q.URL.Path, RawPath: q.URL.RawPath, RawQuery: q.URL.RawQuery}
	route, params, err := k.router.FindRoute(q)
	if err != nil {
		if status != http.StatusNotFound && status != http.StatusMethodNotAllowed && status != http.StatusRequestEntityTooLarge && status != http.StatusForbidden &&
			status != http.StatusUnauthorized && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout && status != http.StatusBadRequest {
			t.Errorf("%s %s: the contract has no such route, and the answer is %d", q.Method, q.URL, status)
		}
		return
	}
	if status == http.StatusNotFound && strings.TrimSpace(string(answer)) == `{"detail":"Not Found"}` || status == http.StatusMethodNotAllowed {
		return // another spelling of a path, which the router takes for it
	}
	in := &openapi3filter.RequestValidationInput{
		Request: q, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			IncludeResponseStatus: true, MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true,
			ExcludeRequestBody: strings.HasSuffix(q.URL.Path, "/cancel"),
		},
	}
	if status < 300 {
		if kind := q.Header.Get("Content-Type"); (kind == "" || strings.HasSuffix(kind, "+json")) && len(body) > 0 {
			q.Header.Set("Content-Type", "application/json")
		}
		if strings.HasPrefix(q.URL.Path, "/images") && q.Method == http.MethodPost {
			q.Header.Set("Content-Type", "application/x-tar")
		}
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			t.Errorf("%s %s: taken, but not by the contract: %v", q.Method, q.URL, err)
		}
	}
	binary := route.Operation.OperationID == "getArtifact" && status < 300
	in.Options.ExcludeResponseBody = binary || len(answer) == 0
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: status, Header: header, Options: in.Options}
	out.SetBodyBytes(answer)
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		t.Errorf("%s %s: %d is not the contract's: %v\n%.2000s", q.Method, q.URL, status, err, answer)
	}
}

func TestOpenAPIDocumentIsValid(t *testing.T) {
	k := loadContract(t)
	if err := k.doc.Validate(t.Context(), openapi3.EnableExamplesValidation(), openapi3.EnableSchemaDefaultsValidation(), openapi3.EnableSchemaPatternValidation(),
		openapi3.EnableSchemaFormatValidation(), openapi3.ProhibitExtensionsWithRef()); err != nil {
		t.Error(err)
	}
}

// What a linter would ask for, and what the house asks for.
func TestOpenAPIDocumentLints(t *testing.T) {
	k := loadContract(t)
	ids := map[string]bool{}
	tags := map[string]bool{}
	for _, tag := range k.doc.Tags {
		if tag.Description == "" {
			t.Errorf("tag %s has no description", tag.Name)
		}
		tags[tag.Name] = true
	}
	used := map[string]bool{}
	for path, item := range k.doc.Paths.Map() {
		for method, o := range item.Operations() {
			name := method + " " + path
			switch {
			case o.OperationID == "" || ids[o.OperationID]:
				t.Errorf("%s: operationId %q", name, o.OperationID)
			case o.Summary == "" || !strings.HasSuffix(o.Summary, "."):
				t.Errorf("%s: summary %q", name, o.Summary)
			case len(o.Tags) != 1 || !tags[o.Tags[0]]:
				t.Errorf("%s: tags %v", name, o.Tags)
			case !slices.Contains([]any{"public", "user", "admin"}, o.Extensions["x-role"]):
				t.Errorf("%s: x-role %v", name, o.Extensions["x-role"])
			}
			ids[o.OperationID], used[o.Tags[0]] = true, true
			must := []int{403, 413, 503}
			if o.Extensions["x-role"] != "public" {
				must = append(must, 401, 429)
			}
			if strings.Contains(path, "{") {
				must = append(must, 404)
			}
			if o.RequestBody != nil {
				must = append(must, 422, 500)
			}
			if path == "/dlq/{entry_id}" || strings.Contains(path, "build") {
				must = slices.DeleteFunc(must, func(n int) bool { return n == 422 })
			}
			for _, status := range must {
				if o.Responses.Status(status) == nil {
					t.Errorf("%s: no answer %d", name, status)
				}
			}
			for status, r := range o.Responses.Map() {
				if r.Value.Description == nil || *r.Value.Description == "" {
					t.Errorf("%s: %s has no description", name, status)
				}
				if status >= "4" && method != http.MethodHead && r.Value.Content.Get("application/json") == nil {
					t.Errorf("%s: %s has no body", name, status)
				}
				if (status == "503" && path != "/health" || status == "429" && method != http.MethodHead) && r.Value.Headers["Retry-After"] == nil {
					t.Errorf("%s: %s has no Retry-After", name, status)
				}
			}
			for _, p := range append(slices.Clone(o.Parameters), item.Parameters...) {
				if p.Value.Description == "" {
					t.Errorf("%s: parameter %s has no description", name, p.Value.Name)
				}
			}
		}
	}
	for tag := range tags {
		if !used[tag] {
			t.Errorf("tag %s is not used", tag)
		}
	}
	for name, s := range k.doc.Components.Schemas {
		closed(t, name, s)
	}
	refs := string(openAPISource)
	for section, names := range map[string][]string{
		"schemas": slices.Collect(maps.Keys(k.doc.Components.Schemas)), "responses": slices.Collect(maps.Keys(k.doc.Components.Responses)),
		"parameters": slices.Collect(maps.Keys(k.doc.Components.Parameters)), "headers": slices.Collect(maps.Keys(k.doc.Components.Headers)),
	} {
		for _, name := range names {
			if !strings.Contains(refs, "#/components/"+section+"/"+name+`"`) {
				t.Errorf("%s %s is not used", section, name)
			}
		}
	}
}

// closed asks every object to report what else it may hold.
func closed(t *testing.T, name string, s *openapi3.SchemaRef) {
	t.Helper()
	if s == nil || s.Value == nil {
		return
	}
	v := s.Value
	if v.Type.Is("object") && v.AdditionalProperties.Has == nil && v.AdditionalProperties.Schema == nil {
		t.Errorf("schema %s: additionalProperties is not said", name)
	}
	for _, required := range v.Required {
		if v.Properties[required] == nil {
			t.Errorf("schema %s: %s is required and unknown", name, required)
		}
	}
	for p, inner := range v.Properties {
		closed(t, name+"."+p, inner)
	}
	closed(t, name+"[]", v.Items)
	for _, all := range [][]*openapi3.SchemaRef{v.OneOf, v.AnyOf, v.AllOf} {
		for i, inner := range all {
			closed(t, fmt.Sprintf("%s/%d", name, i), inner)
		}
	}
}

// The document has the server's routes with their roles, and no others (ruling 16).
func TestRulingR16RolesOfAllRoutes(t *testing.T) {
	k := loadContract(t)
	want := map[string]string{}
	for path, item := range k.doc.Paths.Map() {
		for method, o := range item.Operations() {
			want[method+" "+path] = fmt.Sprint(o.Extensions["x-role"])
		}
	}
	got := map[string]string{}
	for _, r := range (&Server{}).table() {
		got[r.method+" "+r.path] = string(r.role)
	}
	if !maps.Equal(want, got) {
		t.Errorf("the document has %v\nthe server has %v", want, got)
	}
	// And the server means them: each admin route refuses a user before it looks at anything, each
	// other one does not.
	r := newRig(t, 1001)
	for _, one := range r.server.routes {
		path := strings.NewReplacer("{job_id}", "x", "{execution_id}", "x", "{artifact_name}", "x", "{name}", "x", "{entry_id}", "1").Replace(one.path)
		q := httptest.NewRequestWithContext(context.WithValue(t.Context(), peerKey{}, uint32(1001)), one.method, path, nil)
		w := httptest.NewRecorder()
		r.server.ServeHTTP(w, q)
		if (w.Code == http.StatusForbidden) != (one.role == roleAdmin) {
			t.Errorf("%s %s: role %s, and a user gets %d", one.method, one.path, one.role, w.Code)
		}
		// The key-less paths are the public ones.
		if exempt(one.path) != (one.role == rolePublic) {
			t.Errorf("%s %s: role %s, exempt %v", one.method, one.path, one.role, exempt(one.path))
		}
	}
}

func TestDocumentsAreServed(t *testing.T) {
	r := newRig(t, 1001)
	a := r.do("GET", "/openapi.json", "")
	if a.status != 200 || a.body["openapi"] != "3.0.3" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %.200s", a.status, a.text)
	}
	for _, path := range []string{"/docs", "/redoc"} {
		a := r.raw("GET", path, "")
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.text, "/jobs/{job_id}/events") {
			t.Errorf("%s: %d %.200s", path, a.status, a.text)
		}
		for _, foreign := range []string{"<script", "http://", "https://", "//cdn", "src="} {
			if strings.Contains(a.text, foreign) {
				t.Errorf("%s has %s", path, foreign)
			}
		}
		if !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: policy %q", path, a.header.Get("Content-Security-Policy"))
		}
	}
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if a := r.raw("GET", "/", ""); a.status != 307 || a.header.Get("Location") != "/docs" {
		t.Errorf("/: %d %v", a.status, a.header)
	}
	var text map[string]any
	if err := json.Unmarshal(r.server.openAPI, &text); err != nil {
		t.Error(err)
	}
}
