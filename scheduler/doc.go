// Package scheduler decides which job runs when: admission, order, fairness between callers,
// retries, and the causes for which a run is cut short. It declares the Runner and the Store that
// it needs and knows nothing of sandboxes.
//
// Jobs run while the sum of their leaf limits fits the memory budget and a slot is free; the rest
// wait in a bounded queue with one line per caller, served in turn (wire.md rulings 2 and 11). A
// synchronous run occupies the goroutine of its caller; an asynchronous job is in the store before
// it is accepted and has a goroutine of the scheduler from its turn to its end. While it waits,
// only a few hundred bytes of it are in memory: what it is comes back from the store.
//
// The package is long because every change of a job's state happens here, under one mutex.
//
// The end of a job is published in this order: the record is in the store, then the event stream
// ends with it, then waiters are released.
package scheduler
