// Command crash is the part of `make test-crash` that runs in the VM: it loads a store or a tsubod
// with submissions, writes to standard output what a client then knows for sure (ledger.go), and
// after a crash compares that with what is there.
//
//	crash store -dir DIR ...   one start of package store on DIR: check what an earlier start left, then load it
//	crash tsubod -dir DIR ...  the same with a tsubod whose state is in DIR
//	crash kill ...             rounds in which the process is ended by SIGKILL at a random point of the load
//	crash log ...              rounds over dm-log-writes: the disk is put back to what had been flushed at a random point of the load
//
// Power cuts need the other side of the VM: tests/crash/run.
package main
