// Package document reads YAML into a tree in which every value knows its place
// in the source, down to the character: Node.At maps a part of a scalar, be it
// plain, quoted, literal or folded, back to line and column.
//
// It is strict: size, depth, number of nodes and of aliases are bounded, keys
// are scalars and occur once, merge keys and further documents are refused.
// Environment variables (${X}, ${X:-default}, ${X:?message}, $$) are put in
// after parsing, so that they cannot change the structure of the file.
package document
