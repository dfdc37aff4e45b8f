package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/tsubo-run/tsubo/job"
)

// listJobTypes is GET /job-types (wire.md 1.10).
func (s *Server) listJobTypes(c *call) {
	images, ok := s.imageNames(c)
	if !ok {
		return
	}
	all := make([]job.TypeAnswer, 0, len(c.policy.Types))
	for _, name := range slices.Sorted(maps.Keys(c.policy.Types)) {
		all = append(all, typeAnswer(c.policy, c.policy.Types[name], images))
	}
	c.json(http.StatusOK, all)
}

// jobType is GET /job-types/{name}; a version is not taken off the name here.
func (s *Server) jobType(c *call) {
	t, ok := c.policy.Types[c.params[0]]
	if !ok {
		c.noJobType()
		return
	}
	images, ok := s.imageNames(c)
	if !ok {
		return
	}
	c.json(http.StatusOK, typeAnswer(c.policy, t, images))
}

// buildJobType is POST /job-types/{name}/build, which tsubo does not do yet.
func (s *Server) buildJobType(c *call) {
	if _, ok := c.policy.Types[c.params[0]]; !ok {
		c.noJobType()
		return
	}
	c.refuse(http.StatusNotImplemented, "Builds are not there yet: import an image that has the packages, and name it in the job type")
}

func (c *call) noJobType() {
	name := c.params[0]
	if len(name) > 128 {
		name = name[:128]
	}
	c.refuse(http.StatusNotFound, fmt.Sprintf("Job type '%s' not found", name))
}

// imageNames is every name and digest of the catalogue. When it returns false it has answered.
func (s *Server) imageNames(c *call) (map[string]bool, bool) {
	images, err := s.opt.Images.List(c.Context())
	if err != nil {
		s.failed(c, "Image list error", err)
		return nil, false
	}
	names := make(map[string]bool, 2*len(images))
	for _, i := range images {
		names[i.Name], names[i.Digest] = true, true
	}
	return names, true
}

func typeAnswer(p *Policy, t job.Type, images map[string]bool) job.TypeAnswer {
	a := job.TypeAnswer{
		Name: t.Name, Requirements: t.Requirements, PythonVersion: t.PythonVersion, MemoryLimit: size(t.Limits.Memory), CPULimit: job.Decimal(t.Limits.CPU),
		Timeout: int64(t.Timeout / time.Second), ImageExists: t.Image != "" && images[t.Image],
		Language: t.Language, Command: t.Command, Workdir: orNull(t.Workdir), Image: orNull(t.Image), StartupTimeout: int64(t.StartupTimeout / time.Second), Caps: typeCaps(p, t),
	}
	if a.Requirements == nil {
		a.Requirements = []string{}
	}
	if a.PythonVersion == "" {
		a.PythonVersion = "3.11"
	}
	return a
}

// typeCaps is every bound that a job of the type can meet.
func typeCaps(p *Policy, t job.Type) job.TypeCaps {
	l := t.Limits
	return job.TypeCaps{
		MaxMemory: max(t.MaxMemory, l.Memory), MaxCPU: job.Decimal(max(t.MaxCPU, l.CPU)),
		MaxTimeout: int64(p.MaxTimeout / time.Second), MaxStartupTimeout: int64(p.MaxStartupTimeout / time.Second),
		Code: p.MaxCodeBytes, Input: p.MaxInputBytes, Payload: p.MaxPayloadBytes,
		Stdout: l.Stdout, Stderr: l.Stderr, Artifact: l.Artifact, ArtifactsTotal: l.ArtifactsTotal, Artifacts: l.Artifacts,
		Tmp: l.Tmp, Output: l.Output, SharedMemory: l.SharedMemory, FSize: l.FSize, Tasks: l.Tasks().Hard, NoFile: l.NoFile.Hard,
	}
}

// size writes bytes as the configuration has them.
func size(n int64) string {
	if n%(1024*job.MiB) == 0 {
		return fmt.Sprintf("%dg", n/(1024*job.MiB))
	}
	return fmt.Sprintf("%dm", n/job.MiB)
}
