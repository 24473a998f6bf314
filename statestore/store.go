package statestore

import (
	"encoding/binary"
	"errors"
)

// Change is one change of a key, as a changelog carries it. A nil Value is a
// deletion.
type Change struct {
	Key, Value []byte
	Timestamp  int64 // ms
}

// Store is what the runtime needs of any typed store of a task. It belongs to
// the task's goroutine.
type Store interface {
	// Name is the store's name in the topology.
	Name() string
	// Prepare yields what changed since the last Prepare, once per key, in the
	// order of first change. The bytes stay as they are until the next Prepare.
	Prepare(yield func(Change) error) error
	// Committed says that the last Prepare is durable in the changelog, which
	// it reaches up to a cut.
	Committed(upTo Cut)
	// Abort forgets all changes since the last Committed.
	Abort()
	// UncommittedBytes is about how much memory those changes hold.
	UncommittedBytes() int64
}

// Codec is the form of values of one type.
type Codec[V any] interface {
	// Append adds the form of v to dst, which it must not keep.
	Append(dst []byte, v V) ([]byte, error)
	// Decode reads a value, which must not share memory with b.
	Decode(b []byte) (V, error)
}

// Cut says which part of a changelog a state contains: everything before
// Offset.
type Cut struct {
	TopicID     [16]byte
	LeaderEpoch int32 // of the last record before Offset; -1 if not known
	Offset      int64
	TimestampMs int64 // when it was flushed; set by the engine
}

// cutSize is the length of an encoded Cut:
//
//	0  topic id  16 | leader epoch  int32 20 | offset  int64 28 | time, ms  int64 36
const cutSize = 36

func (c Cut) append(dst []byte) []byte {
	dst = append(dst, c.TopicID[:]...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(c.LeaderEpoch))
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.Offset))
	return binary.BigEndian.AppendUint64(dst, uint64(c.TimestampMs))
}

func decodeCut(b []byte) (Cut, error) {
	if len(b) != cutSize {
		return Cut{}, errors.New("statestore: a cut row has the wrong length")
	}
	var c Cut
	copy(c.TopicID[:], b)
	c.LeaderEpoch = int32(binary.BigEndian.Uint32(b[16:]))
	c.Offset = int64(binary.BigEndian.Uint64(b[20:]))
	c.TimestampMs = int64(binary.BigEndian.Uint64(b[28:]))
	return c, nil
}

// ID names one partition of a store.
type ID struct {
	App, Store string
	Partition  int32
}

// ErrInUse says that another owner has the partition open.
var ErrInUse = errors.New("statestore: partition is in use")

const timestampSize = 8

func splitStored(stored []byte) (timestampMs int64, value []byte) {
	return int64(binary.BigEndian.Uint64(stored)), stored[timestampSize:]
}
