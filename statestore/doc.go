// Package statestore keeps keyed state in three layers.
//
// Layer 1 (KeyValue) is a table in memory of live, typed values; what is
// changed since the last commit is only there. Layer 2 holds what is committed
// and not yet on disk, in two generations per partition, one filling and one
// being flushed. Layer 3 is one Pebble database for the whole process.
//
// Nothing is written to disk at a commit: the changelog topic is the durable
// truth. Now and then the filling generations are flushed, sorted, as one table
// file that also carries the changelog offset each partition has reached, so
// that the disk always holds a consistent cut of every partition. After a
// crash a store goes on from its cut, with the changelog after it.
//
// Keys are bytes, ordered bytewise. What is kept under a key, its stored form,
// is the timestamp (8 bytes, big endian, ms) and the value's bytes.
//
// What is left out: the changelog itself, which the runtime writes and reads.
package statestore
