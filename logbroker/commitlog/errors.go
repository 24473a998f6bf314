package commitlog

import (
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	// ErrOffsetOutOfRange: the offset is below Start or above End.
	ErrOffsetOutOfRange = errors.New("commitlog: offset out of range")
	// ErrOutOfOrderSequence: the batch does not continue its producer's
	// sequence and is none of its last five.
	ErrOutOfOrderSequence = errors.New("commitlog: sequence number out of order")
	// ErrInvalidProducerEpoch: a newer instance of the producer has written
	// here.
	ErrInvalidProducerEpoch = errors.New("commitlog: producer epoch is fenced")
	// ErrCoordinatorFenced: a later transaction coordinator has written a marker of
	// the producer.
	ErrCoordinatorFenced = errors.New("commitlog: the transaction coordinator is fenced")
	// ErrInvalidTxnState: the batch mixes transactional and other writes of one
	// producer, or a marker contradicts the decision.
	ErrInvalidTxnState = errors.New("commitlog: not possible in this state of the transaction")
	// ErrConcurrentTransactions: the producer's transaction is decided but its
	// marker is not written yet; try again.
	ErrConcurrentTransactions = errors.New("commitlog: the marker of the producer's last transaction is not written yet")
	// ErrInvalidBatch: the bytes are no batch that a producer may append.
	ErrInvalidBatch = errors.New("commitlog: invalid batch")
	// ErrCorrupt is wrapped by *DamageError.
	ErrCorrupt = errors.New("commitlog: corrupt")
	// ErrFailed is wrapped by every error after a sync failed. The log accepts
	// nothing any more: only a new Open with SuspectDisk tells what is on disk.
	ErrFailed = errors.New("commitlog: a sync failed")
	// ErrPanic: compaction met a fault of the program. The log is as it was, and the
	// same will happen again.
	ErrPanic = errors.New("commitlog: compaction panicked")
	// ErrSwapping: a compaction is putting other files in the place of those that are
	// looked at.
	ErrSwapping = errors.New("a compaction is being finished")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("commitlog: closed")
)

// DamageError says that bytes which were durable cannot be read. The files are
// left as they are.
type DamageError struct {
	Path     string // the segment file
	Position int64  // of the batch that cannot be read, in bytes
	Offset   int64  // that the batch there should have
	Reason   error
}

// Error implements error.
func (e *DamageError) Error() string {
	return fmt.Sprintf("commitlog: %s is damaged at byte %d (offset %d): %v; restore the file from a copy, or delete the topic and make it anew",
		e.Path, e.Position, e.Offset, e.Reason)
}

// Unwrap makes errors.Is find ErrCorrupt and the reason.
func (e *DamageError) Unwrap() []error { return []error{ErrCorrupt, e.Reason} }
