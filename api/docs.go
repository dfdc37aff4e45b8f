package api

import (
	"bytes"
	_ "embed" // openapi.yaml
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// openAPISource is the contract: routes, roles, bodies. It is written by hand, first; tests hold
// the server to it.
//
//go:embed openapi.yaml
var openAPISource []byte

// document prepares GET /openapi.json and the page for people.
func (s *Server) document() error {
	text, err := yaml.YAMLToJSON(openAPISource)
	if err != nil {
		return fmt.Errorf("read openapi.yaml: %w", err)
	}
	var spec openAPI
	if err := json.Unmarshal(text, &spec); err != nil {
		return fmt.Errorf("read openapi.yaml: %w", err)
	}
	var page bytes.Buffer
	if err := docsTemplate.Execute(&page, spec.operations()); err != nil {
		return fmt.Errorf("make the page of the API: %w", err)
	}
	s.openAPI, s.docs = text, page.Bytes()
	return nil
}

type openAPI struct {
	Paths map[string]map[string]json.RawMessage
}

type operation struct {
	Method, Path, ID     string
	Summary, Description string
	Role                 string `json:"x-role"`
	OperationID          string
	Responses            map[string]json.RawMessage
}

// Statuses of the operation, in order.
func (o operation) Statuses() string {
	return strings.Join(slices.Sorted(maps.Keys(o.Responses)), ", ")
}

func (d openAPI) operations() []operation {
	var all []operation
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			var o operation
			if json.Unmarshal(d.Paths[path][method], &o) != nil || o.OperationID == "" {
				continue // parameters
			}
			o.Path, o.Method = path, strings.ToUpper(method)
			all = append(all, o)
		}
	}
	return all
}

// docsTemplate is one page that loads nothing.
var docsTemplate = template.Must(template.New("docs").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>tsubo API</title>
<style>
body { font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; }
code { font-family: monospace; }
h2 { font-size: 1em; border-top: 1px solid #ccc; padding-top: 1em; }
</style>
</head>
<body>
<h1>tsubo API</h1>
<p>The whole contract, with every body: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3).</p>
{{range .}}<h2><code>{{.Method}} {{.Path}}</code></h2>
<p>{{.Summary}}</p>
{{with .Description}}<p>{{.}}</p>
{{end}}<p>Role: {{.Role}}. Answers: {{.Statuses}}.</p>
{{end}}</body>
</html>
`))

// docsPolicy lets the page style itself and nothing else.
const docsPolicy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// home is GET /.
func (s *Server) home(c *call) {
	c.w.Header().Set("Location", "/docs")
	c.w.Header().Set("Content-Length", "0")
	c.w.WriteHeader(http.StatusTemporaryRedirect)
}

// docsPage is GET /docs and GET /redoc.
func (s *Server) docsPage(c *call) {
	c.w.Header().Set("Content-Security-Policy", docsPolicy)
	c.send(http.StatusOK, "text/html; charset=utf-8", s.docs)
}

// openAPIDocument is GET /openapi.json.
func (s *Server) openAPIDocument(c *call) {
	c.send(http.StatusOK, "application/json", s.openAPI)
}
