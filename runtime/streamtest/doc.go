// Package streamtest runs a topology in memory, in one goroutine, without a
// log and without the runtime: records go in, everything that follows from
// them happens before the call returns, records come out.
//
//	d := streamtest.New(t, plan)
//	lines := streamtest.Input(d, Lines)
//	counts := streamtest.Output(d, Counts)
//	lines.Send(nil, "to be or not to be")
//	counts.Want("to=1 be=1 or=1 not=1 to=2 be=2")
//
// Subtopologies are joined by repartition topics in memory, of one partition
// or of as many as the test asks for, chosen by Kafka's hash of the key.
// Nothing is committed until Commit is called: results that are emitted on
// commit come out then, and changelogs are written. Time is the timestamps of
// the records; a record sent without one has that of the record before it.
//
// RunScript does the same by a text file. What is left out: rebalances,
// restarts, and the log itself; the tests of package runtime cover them.
package streamtest
