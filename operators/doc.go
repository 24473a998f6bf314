// Package operators is what can be done to one record: each function returns
// the Build of a topology node, which makes typed closures that call each
// other without boxing, without allocation and without a lookup.
//
// A record is passed down by pointer; its memory belongs to the operator that
// made it and is reused for the next record, so an operator that keeps
// something keeps a copy. Operators never change a record that they were given.
//
// Bytes travel with what they are the form of: as long as no operator changes
// a key or a value, stores and sinks take the bytes that came in. What nobody
// downstream reads is not decoded, if its serde can read any bytes.
//
// Null: for types that can be nil (pointers, slices, maps, interfaces) nil and
// null are the same, and functions of the user are called with nil and may
// return it. For other types a null is carried beside the value: functions
// that look at a record (filter, peek, keys) see the zero value; those that
// make a value from the value are not called, and the null goes on.
//
// Error handling: a function of the user that panics, a result that cannot be
// written and an input that cannot be read are errors of the record
// (*topology.RecordError). Errors of stores and outputs are returned as they
// are: they are not the record's fault.
package operators
