// Package tools pins the runsc that tsubo is built, tested and shipped with, in a module of its
// own: none of gVisor's dependencies becomes one of tsubo's, and runsc is built with exactly the
// versions that its own go.mod asks for. That is also why runc and golangci-lint have a module
// each, below this one. Nothing imports these modules; the Makefile builds from them.
package tools
