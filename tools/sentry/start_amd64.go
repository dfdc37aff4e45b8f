package main

// start is the entry point of this binary, which nothing calls (start_amd64.s).
func start() //nolint:unused // by anything but the linker
