package main

import (
	"bufio"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// recordReader prints the records of a topic up to the ends as they were when it
// began, or for ever with follow.
type recordReader struct {
	topic  string
	flags  *consumeFlags
	ends   map[int32]int64 // of the partitions that were not read so far
	chosen *where
	show   func(*bufio.Writer, *kgo.Record) error
	out    *bufio.Writer
	shown  int64
	group  *membership // nil: it reads all partitions, and commits nothing
	left   offline     // partitions whose records are damaged from where reading came to
}

func (r *recordReader) run(ctx context.Context, client *kgo.Client) error {
	for !r.finished() {
		fetches := r.group.poll(ctx, client)
		if ctx.Err() != nil {
			break // interrupted: what was read is printed
		}
		if err := r.fault(client, fetches); err != nil {
			return err
		}
		read, err := r.print(fetches)
		if failed := r.out.Flush(); failed != nil {
			return errors.Join(err, failed)
		}
		if err := errors.Join(err, r.group.commit(ctx, client, read)); err != nil {
			return err
		}
	}
	if err := r.out.Flush(); err != nil || len(r.left) == 0 {
		return err
	}
	return &reportedError{r.left.explained(r.topic)}
}

// fault is what ends the reading. A partition of which records are damaged is told and left,
// and what passes is tried again by the client.
func (r *recordReader) fault(client *kgo.Client, fetches kgo.Fetches) (fault error) {
	fetches.EachError(func(topic string, partition int32, err error) {
		known, _ := err.(*kerr.Error) // as a broker told it
		switch {
		case known == kerr.CorruptMessage:
			client.PauseFetchPartitions(map[string][]int32{topic: {partition}})
			delete(r.ends, partition)
			if r.left[partition] == nil {
				r.flags.note(offline{partition: err}.explained(topic).Error())
				r.left[partition] = err
			}
		case known != nil && known.Retriable:
		case fault == nil:
			fault = r.explained(err)
		}
	})
	return fault
}

func (r *recordReader) finished() bool {
	switch {
	case r.flags.num > 0 && r.shown >= r.flags.num:
		return true
	case r.flags.follow:
		return false
	case r.group != nil:
		return r.group.finished(r.ends)
	}
	return len(r.ends) == 0
}

func (r *recordReader) explained(err error) error {
	var inGroup *kgo.ErrGroupSession
	if errors.As(err, &inGroup) {
		return onGroup(r.flags.group, "read").explained(err, "")
	}
	return onTopic(r.topic, "read").explained(err, "")
}

// print shows the records that are wanted, and returns the last of each partition
// that is done with.
func (r *recordReader) print(fetches kgo.Fetches) (read map[int32]*kgo.Record, err error) {
	read = map[int32]*kgo.Record{}
	for it := fetches.RecordIter(); !it.Done(); {
		rec := it.Next()
		end, bounded := r.ends[rec.Partition]
		if !r.flags.follow && (!bounded || rec.Offset >= end) {
			continue
		}
		if !rec.Attrs.IsControl() {
			wanted, err := r.chosen.takes(rec)
			if err == nil && wanted {
				err = r.show(r.out, rec)
				r.shown++
			}
			if err != nil {
				return read, err
			}
		}
		read[rec.Partition] = rec
		if rec.Offset+1 >= end {
			delete(r.ends, rec.Partition)
		}
		if r.flags.num > 0 && r.shown >= r.flags.num {
			break
		}
	}
	return read, nil
}

// membership is that of a command in a group. Its methods take nil, which is none.
type membership struct {
	group, topic string
	from         map[int32]kgo.Offset // where the group has no offset

	mu        sync.Mutex
	joined    bool
	failed    error
	positions map[int32]int64 // where reading began in the partitions that it was given
}

// lookEvery is how often a member that gets no records looks whether its partitions
// have changed.
const lookEvery = 250 * time.Millisecond

func (m *membership) options(offset string) []kgo.Opt {
	reset := kgo.NewOffset().AtStart()
	if offset == "end" {
		reset = kgo.NewOffset().AtEnd()
	}
	return []kgo.Opt{
		kgo.ConsumerGroup(m.group), kgo.ConsumeTopics(m.topic), kgo.ConsumeResetOffset(reset), kgo.AutoCommitMarks(),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.lost),
	}
}

func (m *membership) assigned(ctx context.Context, client *kgo.Client, given map[string][]int32) {
	committed, err := kadm.NewClient(client).FetchOffsetsForTopics(ctx, m.group, m.topic)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joined, m.failed = true, err
	for _, p := range given[m.topic] {
		m.positions[p] = m.from[p].EpochOffset().Offset
		if c, ok := committed.Lookup(m.topic, p); ok && c.At >= 0 {
			m.positions[p] = c.At
		}
	}
}

// revoked commits what was printed of partitions that another member gets.
func (m *membership) revoked(ctx context.Context, client *kgo.Client, taken map[string][]int32) {
	err := client.CommitMarkedOffsets(ctx)
	m.lost(ctx, client, taken)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = errors.Join(m.failed, err)
}

func (m *membership) lost(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range taken[m.topic] {
		delete(m.positions, p)
	}
}

// finished says that the partitions that this member was given have nothing left
// before the ends.
func (m *membership) finished(ends map[int32]int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p, position := range m.positions {
		if end, ok := ends[p]; ok && position < end {
			return false
		}
	}
	return m.joined
}

func (m *membership) poll(ctx context.Context, client *kgo.Client) kgo.Fetches {
	if m == nil {
		return client.PollFetches(ctx)
	}
	within, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	fetches := client.PollFetches(within)
	if ctx.Err() == nil && errors.Is(fetches.Err(), context.DeadlineExceeded) {
		return nil
	}
	return fetches
}

// commit stores how far the group has come, also where the user interrupts: it is
// printed.
func (m *membership) commit(ctx context.Context, client *kgo.Client, read map[int32]*kgo.Record) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	err := m.failed
	m.mu.Unlock()
	if len(read) > 0 {
		client.MarkCommitRecords(slices.Collect(maps.Values(read))...)
		err = errors.Join(err, client.CommitMarkedOffsets(context.WithoutCancel(ctx)))
	}
	return onGroup(m.group, "read").explained(err, "")
}
