// Package dsl holds the words in which a stream-processing topology is
// written:
//
//	lines := dsl.NewTopic("lines", serde.Bytes{}, serde.String{})
//	counts := dsl.NewTopic("word-counts", serde.String{}, serde.Int64{})
//
//	b := dsl.NewBuilder()
//	words := dsl.FlatMapValues(lines.Stream(b), strings.Fields)
//	dsl.GroupBy(words, func(_ []byte, w string) string { return w }).Count("counts").Stream().To(counts)
//	plan, err := b.Build()
//
// The nouns are Topic, Stream, Grouped and Table, each with its types. What
// keeps both types is a method; what makes new ones is a function with the
// stream first. No call needs explicit type arguments.
//
// Every step that keeps state has a name, which the user gives. It names the
// store, its changelog (`<name>-changelog`) and, where records must move to
// another partition first, the repartition topic (`<name>-repartition`).
//
// Mistakes do not stop a call: Build returns all of them at once, each with
// the file and line of the call that made it.
//
// Functions that are handed to the package are called by many goroutines, one
// for each task, so they must not share what they change. They must not change
// keys or values that they are given, except the aggregate of Aggregate and
// the first argument of Reduce, which are theirs. A panic fails the record,
// not the program. What is left out: windows, table-table joins, the processor
// interface.
package dsl
