// Package serde turns keys and values into bytes and back.
//
// The forms are those of Kafka's own serializers, so that records written by
// Levada are read by any Kafka client: text as it is, integers as 8 bytes big
// endian (LongSerializer), floats as IEEE 754 double big endian
// (DoubleSerializer), everything else as JSON.
//
// A serde is a small comparable value: two streams whose serdes are equal (==)
// pass bytes to each other without encoding them anew. Null keys and values
// never reach a serde; the record carries them.
//
// Write one of your own by implementing Serde; make it comparable, and make it
// deterministic for keys, since keys meet by their bytes.
package serde
