// Package commitlog is the durable log of one partition: Kafka's segment files
// of record batches (magic 2) with sparse indexes beside them.
//
// It promises:
//   - An append costs one write, whatever the number of records. Nothing is
//     decoded; base offset and leader epoch are patched in place.
//   - What Sync returned for survives a power loss, and no reader is shown a
//     part of a batch, or an offset twice.
//   - Everything derived (indexes, producer state, open and aborted
//     transactions, leader epochs) is rebuilt from the batches where its file
//     is missing or does not agree with them.
//   - A torn tail is cut at the last whole batch. Damage below what is known
//     to have been synced is reported as a *DamageError and left as it is.
//
// It leaves out replication and any waiting: callers decide when to sync, to
// delete and to compact, and how far readers may see.
//
// docs/format/segment.md describes the files.
package commitlog
