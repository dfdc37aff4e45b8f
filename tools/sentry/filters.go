package main

import (
	_ "unsafe" // go:linkname

	"gvisor.dev/gvisor/pkg/seccomp/precompiledseccomp"
	"gvisor.dev/gvisor/runsc/boot/filter"
)

// programs is where runsc looks for a filter of its options; a release of runsc fills it with generated code.
//
//go:linkname programs gvisor.dev/gvisor/runsc/boot/filter.precompiledPrograms
var programs map[string]precompiledseccomp.Program

// useFilters adds ours. Where they do not fit the options of a sandbox, runsc makes the filter itself.
func useFilters() {
	filter.ListPrecompiled() // makes the map, once
	for _, p := range filters {
		programs[p.Name] = p
	}
}
