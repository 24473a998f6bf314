// Package meta keeps everything of the broker that is not a record in one
// Pebble database: topics, log starts, group rows, committed and pending
// offsets, transactional ids, decisions of transactions, and a few system
// values. docs/format/meta.md shows the rows byte by byte.
//
// A Batch collects changes of any kind; Store.Commit makes them atomic and,
// when asked to sync, durable against power loss before it returns. A commit
// that is not synced lives in the memory of the process until some later
// synced one: a SIGKILL may take it. Order is kept: if a commit survives, so
// do all before it.
//
// Pending offsets are those of an open transaction. They become committed, or
// vanish, in the batch that holds the transaction's decision (DecideOffsets).
// An index of them in memory answers Unstable without touching the database.
//
// What the package leaves out: any judgement. Which member may commit and
// which transaction is open is for packages group and txn.
package meta
