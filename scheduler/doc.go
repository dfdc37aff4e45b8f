// Package scheduler decides which job runs when: admission, order, fairness between callers, and the causes for which a run is
// cut short. It declares the Runner that it needs and knows nothing of sandboxes.
//
// Jobs run while the sum of their leaf limits fits the memory budget and a slot is free; the rest wait in a bounded queue with one
// line per caller, served in turn (wire.md rulings 2 and 11). A synchronous run occupies the goroutine of its caller; the
// scheduler itself has none.
package scheduler
