// Package strictjson decodes request bodies by ruling 13 of the wire contract, for every route: one
// value per body, depth bounded, names exact and case-sensitive, duplicates refused, text that is
// UTF-8 without lone surrogates, integers that may be written 5.0 but never "5" or true, numbers
// kept as they were sent.
//
// Parse checks a whole body and returns a Value over its bytes; Object binds the members of a JSON
// object to a handler's variables by rules and collects what is wrong as the list that a 422 answer
// carries.
package strictjson
