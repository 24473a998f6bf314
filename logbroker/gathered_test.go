package logbroker

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// syncCount counts the syncs of records. A sync waits until as much was written as is to be.
type syncCount struct {
	mu     sync.Mutex
	syncs  int
	writes int
	moved  *sync.Cond
	due    int           // writes that a sync waits for
	begun  chan struct{} // gets one for a sync, if it has room
	heard  chan struct{} // gets one when a watcher of the first partition is told something
	// onWrite is called once, at the next write, before it is done.
	onWrite func()
}

func (s *syncCount) hook(op errorfs.Op) error {
	if !strings.HasSuffix(op.Path, ".log") || !strings.Contains(op.Path, logsDir) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch op.Kind {
	case errorfs.OpFileWriteAt:
		if fn := s.onWrite; fn != nil {
			s.onWrite = nil
			s.mu.Unlock()
			fn()
			s.mu.Lock()
		}
		s.writes++
		s.moved.Broadcast()
	case errorfs.OpFileSyncData:
		s.syncs++
		select {
		case s.begun <- struct{}{}:
		default:
		}
		for s.writes < s.due {
			s.moved.Wait()
		}
	}
	return nil
}

// together are requests as they come with one read.
func together(reqs ...kmsg.Request) (all []byte) {
	for _, req := range reqs {
		frame := frameOf(req)
		all = append(binary.BigEndian.AppendUint32(all, uint32(len(frame))), frame...)
	}
	return all
}

// countedSyncs is a client of a broker whose syncs are counted, with a topic "t" of some
// partitions.
func countedSyncs(t *testing.T, limits Limits, partitions int32) (*syncCount, *wire) {
	t.Helper()
	count := &syncCount{begun: make(chan struct{}, 1), heard: make(chan struct{}, 1)}
	count.moved = sync.NewCond(&count.mu)
	b, connect := dial(t, Config{FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(count.hook)), Limits: limits})
	t.Cleanup(func() { // no sync waits any more
		count.mu.Lock()
		defer count.mu.Unlock()
		count.due = 0
		count.moved.Broadcast()
	})
	c := &wire{t, connect()}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 4
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "t", partitions, 1
	req.Topics = append(req.Topics, topic)
	resp, err := c.call(req)
	if err != nil {
		t.Fatal(err)
	}
	if code := resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
		t.Fatalf("the topic was not made: error %d", code)
	}
	t.Cleanup(b.Watch("t", 0, false, func() {
		select {
		case count.heard <- struct{}{}:
		default:
		}
	}))
	return count, c
}

// acknowledged reads answers to produces, whose records are to lie at offsets from first on.
func (w *wire) acknowledged(first int64, n int) {
	w.t.Helper()
	for i := range n {
		frame, err := w.receive()
		if err != nil {
			w.t.Fatalf("answer %d: %v", i, err)
		}
		resp := writeOne().ResponseKind().(*kmsg.ProduceResponse)
		if err := resp.ReadFrom(frame[4:]); err != nil {
			w.t.Fatal(err)
		}
		if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != first+int64(i) {
			w.t.Fatalf("answer %d: error %d, offset %d, want %d", i, p.ErrorCode, p.BaseOffset, first+int64(i))
		}
	}
}

// TestProducesThatCameTogetherShareASync: what was read at once is written before it is made
// durable, all of it by one sync.
func TestProducesThatCameTogetherShareASync(t *testing.T) {
	count, c := countedSyncs(t, Limits{}, 1)
	count.mu.Lock()
	count.due, count.writes, count.syncs = 5, 0, 0
	count.mu.Unlock()
	if _, err := c.Write(together(writeOne(), writeOne(), writeOne(), writeOne(), writeOne())); err != nil {
		t.Fatal(err)
	}
	c.acknowledged(0, 5)
	count.mu.Lock()
	defer count.mu.Unlock()
	if count.syncs != 1 {
		t.Errorf("%d syncs, want 1", count.syncs)
	}
}

// TestNoSyncWaitsForWhatIsToCome: a produce becomes durable although another has begun to
// come, is of another kind, or finds no room behind it.
func TestNoSyncWaitsForWhatIsToCome(t *testing.T) {
	for name, test := range map[string]struct {
		limits Limits
		send   []byte
		n      int
	}{
		"half of the next": {Limits{}, together(writeOne(), writeOne(), writeOne())[:len(together(writeOne(), writeOne()))+20], 2},
		"no room":          {Limits{Pipelined: 1}, together(writeOne(), writeOne(), writeOne(), writeOne()), 4},
		"another kind":     {Limits{}, together(writeOne(), &kmsg.MetadataRequest{Version: 9}), 1},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := countedSyncs(t, test.limits, 1)
			if _, err := c.Write(test.send); err != nil {
				t.Fatal(err)
			}
			c.acknowledged(0, test.n)
		})
	}
}

// TestReadersHearOfASyncByTheWriter: a sync that the reader of the requests does itself raises the
// high watermark for all.
func TestReadersHearOfASyncByTheWriter(t *testing.T) {
	count, c := countedSyncs(t, Limits{}, 1)
	if _, err := c.Write(together(writeOne())); err != nil {
		t.Fatal(err)
	}
	c.acknowledged(0, 1)
	select {
	case <-count.heard:
	case <-time.After(20 * time.Second):
		t.Error("nobody is told of it")
	}
}

// TestNoAnswerWaitsForTheSyncBehindIt: what is answered already is sent before a produce that
// came with it becomes durable.
func TestNoAnswerWaitsForTheSyncBehindIt(t *testing.T) {
	count, c := countedSyncs(t, Limits{}, 1)
	count.mu.Lock()
	count.due = count.writes + 2
	count.mu.Unlock()
	if _, err := c.Write(together(&kmsg.MetadataRequest{Version: 9}, writeOne())); err != nil {
		t.Fatal(err)
	}
	if _, err := c.receive(); err != nil {
		t.Fatal(err)
	}
	count.mu.Lock()
	count.due = 0
	count.moved.Broadcast()
	count.mu.Unlock()
	c.acknowledged(0, 1)
}

// TestLargeRequestsBecomeDurableInPieces: what has come of a large request is synced
// while the rest is to come, little of it after a second.
func TestLargeRequestsBecomeDurableInPieces(t *testing.T) {
	const partitions, size = 20, 1_000_000
	t.Run("nearly all", func(t *testing.T) { largeRequest(t, partitions, size, (partitions-1)*size) })
	t.Run("little", func(t *testing.T) { largeRequest(t, partitions, size, 5*size) })
}

// largeRequest sends a produce of which the rest comes when something was synced.
func largeRequest(t *testing.T, partitions int32, size, first int) {
	t.Helper()
	count, c := countedSyncs(t, Limits{}, partitions)
	req := writeOne()
	one := req.Topics[0].Partitions[0]
	one.Records = oneRecord(-1, -1, -1, false, strings.Repeat("v", size))
	req.Topics[0].Partitions = nil
	for i := range partitions {
		one.Partition = i
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, one)
	}
	all := together(req)
	select {
	case <-count.begun: // of what made the topic
	default:
	}
	if _, err := c.Write(all[:first]); err != nil {
		t.Fatal(err)
	}
	select {
	case <-count.begun:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is synced before the rest comes")
	}
	if _, err := c.Write(all[first:]); err != nil {
		t.Fatal(err)
	}
	frame, err := c.receive()
	if err != nil {
		t.Fatal(err)
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	if err := resp.ReadFrom(frame[4:]); err != nil {
		t.Fatal(err)
	}
	if got := resp.Topics[0].Partitions; len(got) != int(partitions) || slices.ContainsFunc(got, func(p kmsg.ProduceResponseTopicPartition) bool { return p.ErrorCode != 0 }) {
		t.Errorf("answered with %+v", got)
	}
}
