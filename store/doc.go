// Package store persists the daemon's data: records, requests, idempotency keys, artifacts and dead
// letters. It uses a SQLite file (modernc.org/sqlite, no cgo) and a directory of artifacts named by
// digest.
//
// A single goroutine does all writes and commits waiting operations as a group. If any operation in
// the group is durable, the transaction commits with synchronous=FULL, which syncs the write-ahead
// log with every earlier group. Other groups commit with NORMAL, which survives the death of the
// process but not a power failure (ruling 4 of wire.md: the start mark). Reads use connections of
// their own and never wait for a writer.
//
// Files and rows stay consistent by order. A file is written under a temporary name, synced and
// renamed, its directory is synced, and then the row is committed. On removal the row is deleted
// first, synced, and then the file. A crash can therefore leave files without a row, which
// [Store.Sweep] removes, but never a row without its file.
//
// The package is long because every verb works on the same schema, in a transaction of the only
// writer.
//
// The package is safe for concurrent use. Other implementations must pass tests/storetest.
package store
