// Package txn decides what happens to a transactional id: which producer id
// and epoch hold it, which partitions and groups its open transaction touches,
// and how that transaction ends. It follows KIP-98 with KIP-360 (a producer
// recovers by bumping its own epoch) and KIP-890 (the epoch is bumped at the
// end of every transaction), and the older protocol beside it.
//
// It is a pure state machine: Step takes a State, an event and the time, and
// returns the next State and the Effects the caller has to carry out. It reads
// no clock, touches no disk and knows no goroutine. The caller keeps one State
// for each id, gives it one event at a time, and
//
//   - writes the state's row durably before it answers, if Effects.Persist;
//   - for Effects.Decide: makes the data of all its partitions durable if it
//     is a commit, then writes decision, state row (State.Completed) and the
//     decided offsets in one durable batch, then appends the markers, and
//     then feeds Decided and answers.
//
// Errors are the Kafka errors to answer with.
package txn
