// Package pool keeps booted sandboxes waiting, so that a job does not wait for a boot: hot ones,
// each with the runner of one wanted shape waiting in it, and warm ones, empty sentries that any
// image can be added to.
//
// A waiting sandbox has run no caller's code and holds nothing of a caller's. It is taken once;
// what is taken never comes back. Which shapes are wanted is the caller's decision (Keep); how many
// of each wait follows demand: arrivals while one boots, within the bounds of Options and the
// memory that running jobs leave (SetRoom). Waiting sandboxes give way first.
package pool
