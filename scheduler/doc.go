// Package scheduler decides which job runs when. It owns admission, order, fairness between
// callers, retries and cancellation. It declares the [Runner] and the [Store] that it needs and
// knows nothing about sandboxes.
//
// Jobs run while the sum of their leaf limits fits the memory budget and a slot is free. The others
// wait in a bounded queue. Each caller has a line of its own, and callers take turns (wire.md
// rulings 2 and 11). A synchronous run occupies its caller's goroutine. An asynchronous job is
// stored before it is accepted and gets a goroutine of the scheduler when its turn comes. Until
// then it takes only a few hundred bytes of memory; its request is read back from the store.
//
// The package is long because every change of a job's state happens here, under one mutex.
//
// A job's end is published in this order: the record is stored, the event stream ends with the
// record, waiters are released.
package scheduler
