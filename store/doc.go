// Package store keeps what outlives the daemon: records, requests, idempotency keys, artifacts and
// dead letters, in one SQLite file (modernc.org/sqlite, no cgo) and a folder of artifacts named by
// digest.
//
// Writes go through one goroutine that commits in groups: whatever waits becomes one transaction. A
// group in which somebody needs durability commits with synchronous=FULL, which syncs the
// write-ahead log and with it every group before; the others commit with NORMAL, which survives the
// death of the process and not a power cut (ruling 4 of wire.md: the start mark). Reads have
// connections of their own and never wait for a writer.
//
// The order that keeps files and rows together: a file is written beside its place, synced,
// renamed, its folder synced; then the row is committed. A row goes first, synced, and then its
// file. So a crash leaves files without a row, which Sweep removes, and never a row without its
// file.
//
// The package is long because every verb works on the one schema, in a transaction of the one
// writer.
//
// The package is safe for concurrent use. Another implementation has to pass tests/storetest.
package store
