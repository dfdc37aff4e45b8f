// Package job holds the words that every other package shares: what a caller asks for (Spec), what
// a job type grants (Type, Limits), what came of it (Result, Status, Error), and what was in force
// while it ran (Enforced).
//
// It depends on nothing but the standard library, does no I/O and knows no other package of this
// module. JSON names are those of the wire contract; a nullable key is a pointer and is never
// omitted. It is long because a word that two packages share has no other home.
package job
