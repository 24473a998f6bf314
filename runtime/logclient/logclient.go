package logclient

import (
	"errors"
	"time"

	"github.com/levada/levada/internal/recordbatch"
)

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Position is a place in a partition: the next offset to read.
type Position struct {
	TopicPartition
	Offset      int64
	LeaderEpoch int32  // of the record before Offset; -1 if not known
	Metadata    string // kept with a committed offset; opaque to the log
}

// Log is a log as one process sees it. It is safe for concurrent use.
type Log interface {
	// Join makes a member of a group with a producer of its own. It returns
	// at once; the membership is reported by Poll.
	Join(MemberConfig) (Member, error)
	// NewReader reads explicit partitions outside any group.
	NewReader(ReaderConfig) (Reader, error)
	// NewWriter makes a transactional producer outside any group. It fences
	// the earlier holder of its transactional id before its first commit.
	NewWriter(WriterConfig) (Writer, error)
	// Admin asks about topics and offsets and changes them.
	Admin() Admin
	// Close releases all; members, readers and writers are closed before.
	Close() error
}

// Fetcher delivers batches of partitions.
type Fetcher interface {
	// Poll returns what happened since the last call. It never blocks, and
	// what it returns is valid until the next call. At most about
	// MaxPollBytes of records are returned, fairly over the partitions.
	Poll(now time.Time) Poll
	// Seek sets the position of a partition and lets it flow. A newly
	// assigned partition does not flow until then.
	Seek(Position)
	// Pause stops the flow of a partition until Resume or Seek; batches
	// already returned are not affected, batches fetched ahead are kept.
	Pause(TopicPartition)
	// Resume lets a paused partition flow on from where it was.
	Resume(TopicPartition)
	// Wake returns a channel of capacity 1 that holds a value when Poll may
	// return something new or a Pending of this Fetcher's owner is done.
	Wake() <-chan struct{}
}

// Transaction collects records and commits them with the input positions.
// A transaction opens by itself with the first Append.
type Transaction interface {
	// Append adds a batch (as recordbatch.Builder makes it: no producer
	// fields, no CRC) to the open transaction. The bytes belong to the log
	// until the Commit or Abort that ends the transaction is done, then to the
	// caller again (earlier if the Transaction is a Copier). An error here is final for the transaction: Abort it.
	Append(tp TopicPartition, batch recordbatch.Batch) error
	// Commit makes everything appended since the last Commit or Abort, and
	// positions, visible and durable at once. No Append until it is done. A
	// transaction with neither records nor positions does nothing. In a cluster
	// the answer may come a moment before others see it: until then
	// CommittedOffsets with stable set gives ErrUnstable.
	Commit(positions []Position) *Pending[CommitResult]
	// Abort drops the open transaction. No Append until it is done.
	Abort() *Pending[struct{}]
}

// Copier is a Transaction that may have copied a batch when Append returns.
type Copier interface {
	// Copies tells whether the memory of every batch belongs to the caller
	// again as soon as Append returns.
	Copies() bool
}

// Membership is the part of a Member that follows the group.
type Membership interface {
	// Released says that the partitions of the oldest Revoked event have been
	// committed or aborted and closed; the rebalance waits for it.
	Released()
	// Rejoin asks for a rebalance with new metadata for the assignor.
	Rejoin(userData []byte)
	// Close releases the member's resources. If leave is set it leaves the
	// group; a static member that restarts does not leave, and takes its own
	// place again.
	Close(leave bool) error
}

// Member is a member of a group with a producer of its own: one worker.
type Member interface {
	Fetcher
	Transaction
	Membership
}

// Reader reads explicit partitions.
type Reader interface {
	Fetcher
	Close() error
}

// Writer is a transactional producer outside any group.
type Writer interface {
	Transaction
	Close() error
}

// MemberConfig describes a Member.
type MemberConfig struct {
	Group string
	// InstanceID is the static member id (group.instance.id, KIP-345); empty
	// for a dynamic member.
	InstanceID string
	// TransactionalID makes commits transactions. Empty: at least once, records
	// are flushed first and the positions committed after.
	TransactionalID string
	Topics          []string
	// UserData is what the assignor is told about this member; see
	// runtime/assign, which both implementations use.
	UserData []byte
	// SessionTimeout is after how long without a heartbeat the member is
	// dead. Default 10 s.
	SessionTimeout time.Duration
	// TransactionTimeout is after how long the log aborts an open
	// transaction. Default 10 s.
	TransactionTimeout time.Duration
	// MaxPollBytes bounds what one Poll returns. Default 4 MiB.
	MaxPollBytes int
	// ReadUncommitted shows records of open and aborted transactions.
	ReadUncommitted bool
}

// ReaderConfig describes a Reader.
type ReaderConfig struct {
	// Positions are read from the start of the Reader; Seek adds others.
	Positions       []Position
	ReadUncommitted bool
	// MaxPollBytes bounds what one Poll returns. Default 4 MiB.
	MaxPollBytes int
}

// WriterConfig describes a Writer.
type WriterConfig struct {
	TransactionalID    string
	TransactionTimeout time.Duration // default 10 s
}

// Poll is what a Fetcher has to tell: first the events, in order, then the
// batches, which belong to partitions that are still assigned after them.
type Poll struct {
	Events  []Event
	Batches []Batch
	// NextDue is when Poll should be called even if Wake is silent (a timer of
	// a synchronous implementation); zero if never.
	NextDue time.Time
}

// EventKind tells what an Event reports.
type EventKind int8

const (
	// Assigned: Partitions are newly ours; Seek lets them flow. UserData is
	// from the assignor. Sent after every rebalance, also with no partitions.
	Assigned EventKind = iota
	// Revoked: Partitions go to another member after Released.
	Revoked
	// Lost: Partitions are no longer ours, without a chance to commit; the open
	// transaction, if any, must be aborted.
	Lost
	// OffsetGone: the position of Partitions[0] does not exist in the log any
	// more (truncated, deleted). Err says why; the partition does not flow until
	// Seek.
	OffsetGone
	// Fatal: the member or reader can do no more; Err says why.
	Fatal
)

// Event is something that Poll reports besides batches.
type Event struct {
	Kind       EventKind
	Partitions []TopicPartition
	UserData   []byte
	Err        error
}

// Batch is a run of consecutive records of one partition, already without
// control records and, unless ReadUncommitted, without aborted ones. It may
// hold no record and only move the position.
type Batch struct {
	TopicPartition
	// Raw is the batch as it lies in the log, when it is handed over by
	// reference; otherwise Records is set. Both may be nil.
	Raw     recordbatch.Batch
	Records []recordbatch.Record
	// Next is the position after the batch.
	Next        int64
	LeaderEpoch int32
	// End is the offset up to which the partition could be read when this
	// was fetched (last stable offset, or high watermark).
	End int64
}

// CommitResult tells where the records of a committed transaction ended.
type CommitResult struct {
	// Ends holds, for each partition appended to, the offset after the last
	// record (its Metadata is empty).
	Ends []Position
}

// Errors that a worker acts on; implementations wrap them.
var (
	// ErrFenced: another producer holds the transactional id, or the group has
	// another member in this place. The member must be closed and joined anew.
	ErrFenced = errors.New("logclient: fenced by a newer instance")
	// ErrAborted: the transaction was not committed, all of its records are
	// dropped; Abort, then the work can be done again.
	ErrAborted = errors.New("logclient: transaction aborted")
	// ErrUnknownTopic: the topic or partition does not exist.
	ErrUnknownTopic = errors.New("logclient: unknown topic or partition")
	// ErrTopicExists: the topic exists already.
	ErrTopicExists = errors.New("logclient: topic exists")
	// ErrUnstable: the committed offset cannot be told while a transaction
	// that may change it is open.
	ErrUnstable = errors.New("logclient: committed offset is not stable")
	// ErrUnreachable: no broker answered.
	ErrUnreachable = errors.New("logclient: no broker can be reached")
	// ErrTooLarge: a batch is larger than its topic takes. It would be again.
	ErrTooLarge = errors.New("logclient: batch is larger than the topic takes")
	// ErrRefused: a topic does not take a batch as it is, for a timestamp or a
	// null key. It would not the next time.
	ErrRefused = errors.New("logclient: the topic does not take the batch")
	// ErrInvalidConfig: a topic cannot have a config, or not that value.
	ErrInvalidConfig = errors.New("logclient: invalid config")
	// ErrOffsetGone: the offset is not in the log.
	ErrOffsetGone = errors.New("logclient: offset is not in the log")
)
