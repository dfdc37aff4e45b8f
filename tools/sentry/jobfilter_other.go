//go:build !amd64

package main

import "gvisor.dev/gvisor/pkg/bpf"

const jobFilterOf = ""

var jobFilter []bpf.Instruction
