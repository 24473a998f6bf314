// Package kafka implements logclient for any Kafka cluster. franz-go carries
// the requests: it keeps the connections, negotiates versions, finds
// coordinators and controllers, and retries what moved. On top of its requests
// this package keeps its own fetcher, producer and group member, because the
// seam works in record batches: what arrives is handed over as the bytes the
// broker sent, and what is appended is sent as the bytes the worker built, so
// that a record costs a copy through a socket and nothing else. It also makes
// every step of a transaction explicit: which positions are committed, in
// which generation, and what a failure left behind.
//
// Each member, reader and writer has a franz-go client of its own, since
// requests of one connection are answered in order and a fetch may wait; one
// more client per Log serves Admin.
//
// # Transactions
//
// Where the cluster has transaction.version 2 (KIP-890) partitions join a
// transaction by being written to, and every transaction has an epoch of its
// own. Elsewhere partitions are added by request, and an aborted transaction
// that failed is followed by a new epoch. In both cases a batch is sent again
// with its sequence number until its outcome is known or the time is over. If
// the outcome of a commit cannot be learned, the producer is not used again:
// who joins anew takes the transactional id from it.
//
// # Limits
//
// Topics are named, not identified, in fetch and produce requests: a topic that
// is deleted and made again under a reader is noticed by its offsets only.
// Record batches of magic 0 and 1 are refused.
package kafka
