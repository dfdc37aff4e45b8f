// Package storetest is what any store must do, as tests: Run it against an implementation. It
// stands outside of the shipped packages because it imports testing.
package storetest
