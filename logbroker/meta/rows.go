package meta

import (
	"encoding/binary"
	"sort"
)

// TopicID is the 16-byte id of a topic.
type TopicID [16]byte

// maxPartitions is more than any topic has: memory is taken for each.
const maxPartitions = 1 << 20

// Topic is the row of one topic.
type Topic struct {
	Name       string
	ID         TopicID
	Partitions int32
	// Made is how many partitions, the first ones, have a directory and a first segment that
	// are durable. The others were being made when the process ended, or there was no room
	// for a segment.
	Made int32
	// Configs are the values set for this topic, not the defaults.
	Configs map[string]string
}

// allMade is what rows of earlier versions have for all partitions.
const allMade = -1

func (t *Topic) encode() []byte {
	e := newEncoder()
	e.raw(t.ID[:])
	e.int(int64(t.Partitions))
	e.int(int64(t.Made))
	names := make([]string, 0, len(t.Configs))
	for name := range t.Configs {
		names = append(names, name)
	}
	sort.Strings(names)
	e.uint(uint64(len(names)))
	for _, name := range names {
		e.string(name)
		e.string(t.Configs[name])
	}
	return e.buf
}

func decodeTopic(name string, p []byte) (Topic, error) {
	d := newDecoder(p)
	t := Topic{Name: name, Configs: map[string]string{}}
	d.raw(t.ID[:])
	t.Partitions = d.int32()
	if t.Made = d.int32(); t.Made == allMade {
		t.Made = t.Partitions
	}
	for range d.count() {
		k := d.string()
		t.Configs[k] = d.string()
	}
	if t.Partitions < 0 || t.Partitions > maxPartitions || t.Made < 0 || t.Made > t.Partitions {
		d.fail("number of partitions")
	}
	return t, d.end()
}

// decodeDeleted reads the row that is left of a deleted topic.
func decodeDeleted(p []byte) (Topic, error) {
	d := newDecoder(p)
	t := Topic{Name: d.string()}
	d.raw(t.ID[:])
	t.Partitions = d.int32()
	return t, d.end()
}

// decodeLogStart reads a row whose key lacks its kind.
func decodeLogStart(k, v []byte) (p Partition, start int64, err error) {
	if len(k) != 20 || len(v) != 8 {
		return p, 0, errKey
	}
	copy(p.Topic[:], k)
	p.Index = int32(binary.BigEndian.Uint32(k[16:]))
	return p, int64(binary.BigEndian.Uint64(v)), nil
}

// TxnState is where a transactional id stands. The numbers are stored.
type TxnState int8

// The states of a transactional id, as Kafka names them.
const (
	TxnEmpty TxnState = iota
	TxnOngoing
	TxnPrepareCommit
	TxnPrepareAbort
	TxnCompleteCommit
	TxnCompleteAbort
)

// String is Kafka's name of the state.
func (s TxnState) String() string {
	names := [...]string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"}
	if s < 0 || int(s) >= len(names) {
		return "Unknown"
	}
	return names[s]
}

// Partition names one partition of one incarnation of a topic.
type Partition struct {
	Topic TopicID
	Index int32
}

// Txn is the row of one transactional id.
type Txn struct {
	ID         string
	ProducerID int64
	Epoch      int16
	// LastProducerID and LastEpoch are what the producer held before Epoch was
	// given to it, so that a retry of a request whose answer was lost is
	// recognised; -1 when nobody may come back with an older epoch.
	LastProducerID int64
	LastEpoch      int16
	State          TxnState
	TimeoutMs      int32
	UpdatedMs      int64
	StartedMs      int64 // of the open transaction or the last; 0 without one
	// Partitions and Groups are those the older protocol registered; with the
	// newer one they are derived from the logs and the pending offsets.
	Partitions []Partition
	Groups     []string
}

func (t *Txn) encode() []byte {
	e := newEncoder()
	e.int(t.ProducerID)
	e.int(int64(t.Epoch))
	e.int(t.LastProducerID)
	e.int(int64(t.LastEpoch))
	e.int(int64(t.State))
	e.int(int64(t.TimeoutMs))
	e.int(t.UpdatedMs)
	e.int(t.StartedMs)
	e.uint(uint64(len(t.Partitions)))
	for _, p := range t.Partitions {
		e.raw(p.Topic[:])
		e.int(int64(p.Index))
	}
	e.uint(uint64(len(t.Groups)))
	for _, g := range t.Groups {
		e.string(g)
	}
	return e.buf
}

func decodeTxn(id string, p []byte) (Txn, error) {
	d := newDecoder(p)
	t := Txn{ID: id, ProducerID: d.int(), Epoch: d.int16(), LastProducerID: d.int(), LastEpoch: d.int16()}
	state := d.int()
	if state < int64(TxnEmpty) || state > int64(TxnCompleteAbort) {
		d.fail("transaction state")
	}
	t.State = TxnState(state)
	t.TimeoutMs = d.int32()
	t.UpdatedMs, t.StartedMs = d.int(), d.int()
	for range d.count() {
		var part Partition
		d.raw(part.Topic[:])
		part.Index = d.int32()
		t.Partitions = append(t.Partitions, part)
	}
	for range d.count() {
		t.Groups = append(t.Groups, d.string())
	}
	return t, d.end()
}

// DecisionPartition is a partition that a decided transaction wrote to. End is
// the partition's log end when the decision was taken: a transaction of the
// same producer that starts at End or after is a later one.
type DecisionPartition struct {
	Partition
	End int64
}

// Decision is the durable outcome of one transaction. It stays until its
// markers are synced in every partition.
type Decision struct {
	ProducerID int64
	Epoch      int16 // the epoch the transaction's batches carry
	Counter    int64 // tells the transactions of one epoch apart
	Commit     bool
	// MarkerEpoch is the epoch the markers carry: greater than Epoch where the
	// decision fences the producer's old epoch (KIP-890).
	MarkerEpoch int16
	Partitions  []DecisionPartition
}

func (c *Decision) encode() []byte {
	e := newEncoder()
	e.bool(c.Commit)
	e.int(int64(c.MarkerEpoch))
	e.uint(uint64(len(c.Partitions)))
	for _, p := range c.Partitions {
		e.raw(p.Topic[:])
		e.int(int64(p.Index))
		e.int(p.End)
	}
	return e.buf
}

func decodeDecision(c Decision, p []byte) (Decision, error) {
	d := newDecoder(p)
	c.Commit = d.bool()
	c.MarkerEpoch = d.int16()
	for range d.count() {
		var part DecisionPartition
		d.raw(part.Topic[:])
		part.Index = d.int32()
		part.End = d.int()
		c.Partitions = append(c.Partitions, part)
	}
	return c, d.end()
}

// Offset is a group's committed offset in one partition.
type Offset struct {
	Topic       string
	Partition   int32
	Offset      int64
	LeaderEpoch int32 // -1: not given
	Metadata    string
	CommittedMs int64 // when, ms since 1970
}

func (o *Offset) encode() []byte {
	e := newEncoder()
	e.int(o.Offset)
	e.int(int64(o.LeaderEpoch))
	e.int(o.CommittedMs)
	e.string(o.Metadata)
	return e.buf
}

func decodeOffset(topic string, partition int32, p []byte) (Offset, error) {
	d := newDecoder(p)
	o := Offset{Topic: topic, Partition: partition, Offset: d.int(), LeaderEpoch: d.int32(), CommittedMs: d.int()}
	o.Metadata = d.string()
	return o, d.end()
}

// PendingOffset is an offset of an open transaction.
type PendingOffset struct {
	ProducerID int64
	Group      string
	Offset     Offset
}
