package logbroker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// sessionClient is a consumer that keeps to KIP-227.
type sessionClient struct {
	w     *workbench
	conn  *Conn
	id    int32
	epoch int32
	at    map[int32]int64 // the next offset of each partition it fetches
	known map[int32]int64 // the high watermark it was told
	got   map[int32]int   // records read
	// maxBytes is the size of an answer; 0 is 300.
	maxBytes int32
}

func (c *sessionClient) fetch(change []int32, forget []int32) *kmsg.FetchResponse {
	c.w.t.Helper()
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionID, req.SessionEpoch = 12, 300, c.id, c.epoch
	if c.maxBytes > 0 {
		req.MaxBytes = c.maxBytes
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic = "t"
	for _, n := range change {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = n, c.at[n], 200
		t.Partitions = append(t.Partitions, p)
	}
	if len(change) > 0 {
		req.Topics = append(req.Topics, t)
	}
	if len(forget) > 0 {
		req.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: forget}}
	}
	var resp *kmsg.FetchResponse
	c.w.Handle(c.conn, req, func(r kmsg.Response) { resp = r.(*kmsg.FetchResponse) })
	if resp == nil {
		c.w.t.Fatal("no answer")
	}
	return resp
}

// round fetches once and takes over what is told; it returns the partitions that
// gave records, which must be asked for at their new offset.
func (c *sessionClient) round(change, forget []int32) []int32 {
	resp := c.fetch(change, forget)
	c.w.want(resp.ErrorCode, nil)
	if c.epoch == 0 {
		c.id = resp.SessionID
	}
	c.epoch++
	var moved []int32
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			c.known[p.Partition] = p.HighWatermark
			if len(p.RecordBatches) > 0 {
				n := c.w.countBatches(p.RecordBatches)
				c.at[p.Partition] += int64(n)
				c.got[p.Partition] += n
				moved = append(moved, p.Partition)
			}
		}
	}
	return moved
}

// countBatches counts batches of one record each.
func (w *workbench) countBatches(b []byte) (n int) {
	for len(b) > 12 {
		size := int(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11])) + 12
		b = b[size:]
		n++
	}
	return n
}

// TestFetchSessions: whatever is written, added and forgotten, a client that is
// told only news knows all, and no partition starves.
func TestFetchSessions(t *testing.T) {
	const partitions = 6
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorkbench(t)
		defer w.Kill()
		w.topic("t", partitions)
		c := &sessionClient{w: w, conn: NewConn("c", "/c"), at: map[int32]int64{}, known: map[int32]int64{}, got: map[int32]int{}}
		written := map[int32]int{}
		fetched := map[int32]bool{0: true}
		change := []int32{0}
		var forget []int32
		any := rapid.Int32Range(0, partitions-1)
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "what") {
			case 0:
				if n := any.Draw(rt, "add"); !fetched[n] {
					fetched[n] = true
					change = append(change, n)
				}
			case 1:
				if n := any.Draw(rt, "forget"); fetched[n] && c.epoch > 0 && len(fetched) > 1 {
					delete(fetched, n)
					forget = append(forget, n)
				}
			case 2, 3:
				n := any.Draw(rt, "write")
				w.want(w.produce(11, nil, n, oneRecord(-1, -1, -1, false, "value")).ErrorCode, nil)
				written[n]++
			default:
				change, forget = c.round(change, forget), nil
			}
			var kept []int32
			for _, n := range change {
				if fetched[n] {
					kept = append(kept, n)
				}
			}
			change = kept
		}
		for range partitions * 30 {
			change, forget = c.round(change, forget), nil
		}
		for n := range fetched {
			if c.got[n] != written[n] || c.known[n] != int64(written[n]) {
				rt.Fatalf("partition %d: %d of %d records, high watermark known as %d", n, c.got[n], written[n], c.known[n])
			}
		}
	})
}

// TestNoPartitionStarves: one that always has more than an answer holds does not
// keep the others from their turn.
func TestNoPartitionStarves(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 3)
	for range 50 {
		w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, "value")).ErrorCode, nil)
	}
	w.want(w.produce(11, nil, 2, oneRecord(-1, -1, -1, false, "waits")).ErrorCode, nil)
	c := &sessionClient{w: w, conn: NewConn("c", "/c"), at: map[int32]int64{}, known: map[int32]int64{}, got: map[int32]int{}, maxBytes: 1}
	change := []int32{0, 1, 2}
	for range 3 {
		change = c.round(change, nil)
	}
	if c.got[2] != 1 || c.got[0] == 0 {
		t.Errorf("after three rounds: %v", c.got)
	}
}

// TestLostSessions: a client that has lost track is told so, and begins anew.
func TestLostSessions(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	c := &sessionClient{w: w, conn: NewConn("c", "/c"), at: map[int32]int64{}, known: map[int32]int64{}, got: map[int32]int{}}
	c.round([]int32{0, 1}, nil)
	other := *c
	other.conn = NewConn("thief", "/t")
	w.want(other.fetch(nil, nil).ErrorCode, kerr.FetchSessionIDNotFound)
	c.epoch++
	w.want(c.fetch(nil, nil).ErrorCode, kerr.InvalidFetchSessionEpoch)
	c.epoch--
	if resp := c.fetch(nil, nil); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
		t.Errorf("no news: %+v", resp)
	}
	old := c.id
	c.epoch = newSessionEpoch
	c.round([]int32{0}, nil)
	if c.id == old {
		t.Error("the new session has the old id")
	}
	c.id, c.epoch = old, 2
	w.want(c.fetch(nil, nil).ErrorCode, kerr.FetchSessionIDNotFound)
	for i := range 5 {
		c.id, c.epoch = 0, newSessionEpoch
		c.round([]int32{int32(i % 2)}, nil)
	}
	if n := len(c.conn.sessions.list); n > maxSessions {
		t.Errorf("%d sessions of one connection", n)
	}
	// An error is told again until it is over.
	c.id, c.epoch = 0, newSessionEpoch
	c.round([]int32{0}, nil)
	c.round([]int32{5}, nil)
	for range 2 {
		resp := c.fetch(nil, nil)
		c.epoch++
		if len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].ErrorCode != kerr.UnknownTopicOrPartition.Code {
			t.Errorf("answer %s", fmt.Sprintf("%+v", resp.Topics))
		}
	}
	w.want(w.createPartitions("t", 6, nil).ErrorCode, nil)
	if resp := c.fetch(nil, nil); len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("after it is over: %+v", resp.Topics)
	}
}

// TestSessionsAreBounded: what all clients have the broker remember in sessions is
// bounded, whether the topics exist or not; who comes when it is full is served
// without one, and what ends makes room.
func TestSessionsAreBounded(t *testing.T) {
	w := newSecured(t)
	parts := func(c *Conn, name string, id, epoch int32, from, n int) *fetchAnswer {
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.MaxBytes, req.SessionID, req.SessionEpoch = 11, 1, id, epoch
		ft := kmsg.NewFetchRequestTopic()
		ft.Topic = name
		for i := range n {
			fp := kmsg.NewFetchRequestTopicPartition()
			fp.Partition = int32(from + i)
			ft.Partitions = append(ft.Partitions, fp)
		}
		req.Topics = append(req.Topics, ft)
		var out *fetchAnswer
		w.Handle(c, req, func(r kmsg.Response) {
			switch r := r.(type) {
			case *fetchAnswer:
				out = r
			case *kmsg.FetchResponse:
				out = &fetchAnswer{FetchResponse: r}
			}
		})
		return out
	}
	const each = maxSessionParts / 4
	var conns []*Conn
	var first int32
	for i := range 4 {
		conns = append(conns, eve())
		if got := parts(conns[i], "nowhere", 0, newSessionEpoch, 0, each); got.SessionID == 0 {
			t.Fatalf("session %d: none while there is room", i)
		} else if i == 0 {
			first = got.SessionID
		}
	}
	for _, name := range []string{"nowhere", strings.Repeat("x", 30_000)} {
		if got := parts(eve(), name, 0, newSessionEpoch, 0, 1); got.SessionID != 0 || got.ErrorCode != 0 || len(got.Topics) != 1 {
			t.Errorf("when it is full: session %d, error %d, %d topics", got.SessionID, got.ErrorCode, len(got.Topics))
		}
	}
	w.want(parts(conns[0], "nowhere", first, 1, each, 1).ErrorCode, kerr.FetchSessionIDNotFound)
	if got := w.sessions.used.Load(); got != 3*each {
		t.Errorf("room of %d taken after one has ended, want %d", got, 3*each)
	}
	if got := parts(eve(), strings.Repeat("x", 30_000), 0, newSessionEpoch, 0, each/100); got.SessionID != 0 {
		t.Error("long names cost no more than short ones")
	}
	if got := parts(conns[0], "nowhere", 0, newSessionEpoch, 0, 10); got.SessionID == 0 {
		t.Error("no session when there is room again")
	}
	for _, c := range conns {
		c.sessions.end(&w.sessions)
	}
	if got := w.sessions.used.Load(); got != 0 {
		t.Errorf("room of %d is taken by nobody", got)
	}
}
