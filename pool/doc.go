// Package pool keeps booted sandboxes idle, so that jobs need not wait for a boot. A hot sandbox
// has the runner of a wanted shape waiting inside. A warm sandbox is an empty sentry, ready for any
// image.
//
// An idle sandbox has run no caller's code and holds no caller's data. It is taken once and never
// returned. The caller chooses the wanted shapes with [Pool.Keep]. The number of idle sandboxes
// follows demand, the arrivals during one boot, within the limits of [Options] and the memory that
// running jobs leave free ([Pool.SetRoom]). Idle sandboxes are discarded before jobs have to wait
// for memory.
package pool
