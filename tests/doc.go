// Package tests holds what is asserted about the repository as a whole and about the running
// daemon: the rules of the house (arch_test.go), the probes and drivers that run as root in the VM,
// and the harness that boots it (tests/vm/run).
package tests
