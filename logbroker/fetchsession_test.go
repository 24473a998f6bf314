package logbroker

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
				if n := any.Draw(rt, "add"); !fetched[n] && !slices.Contains(forget, n) {
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

// sessionFetch is a fetch of partitions from one on, by name, which need not be there.
func sessionFetch(topic string, id, epoch int32, from, n int) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionID, req.SessionEpoch = 11, 1, id, epoch
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic = topic
	for i := range n {
		fp := kmsg.NewFetchRequestTopicPartition()
		fp.Partition = int32(from + i)
		ft.Partitions = append(ft.Partitions, fp)
	}
	if n > 0 {
		req.Topics = append(req.Topics, ft)
	}
	return req
}

// inSession sends a fetch as somebody and returns what it is answered with, nil if it
// waits.
func (w *workbench) inSession(c *Conn, req *kmsg.FetchRequest) (out *kmsg.FetchResponse) {
	w.Handle(c, req, func(r kmsg.Response) {
		switch r := r.(type) {
		case *fetchAnswer:
			out = r.FetchResponse
		case *kmsg.FetchResponse:
			out = r
		}
	})
	return out
}

// from is a client of a listener.
func from(principal string, l *listener) *Conn {
	return &Conn{ClientID: "c", Host: "/10.0.0.1", principal: principal, listener: l}
}

// TestSessionsOutliveTheirConnection: who connects again goes on with its session, and
// nobody else can: not another user, nor the same by another listener. To them the
// session is not there, and they do not end it.
func TestSessionsOutliveTheirConnection(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	inner, outer := &listener{}, &listener{}
	first := w.inSession(from("User:ann", inner), sessionFetch("t", 0, newSessionEpoch, 0, 2))
	if first.SessionID <= 0 || len(first.Topics) != 1 || len(first.Topics[0].Partitions) != 2 {
		t.Fatalf("answered with %+v", first)
	}
	id := first.SessionID
	for _, c := range []*Conn{from("User:bob", inner), from("User:ann", outer), from(anonymous, inner), NewConn("c", "/c")} {
		got := w.inSession(c, sessionFetch("t", id, 1, 0, 0))
		w.want(got.ErrorCode, kerr.FetchSessionIDNotFound)
		if got.SessionID != 0 {
			t.Error("the id of another's session is told")
		}
		w.want(w.inSession(c, sessionFetch("t", id, 7, 0, 0)).ErrorCode, kerr.FetchSessionIDNotFound)
		w.want(w.inSession(c, sessionFetch("t", id, noSessionEpoch, 0, 1)).ErrorCode, nil)
		w.want(w.inSession(c, sessionFetch("t", id, newSessionEpoch, 0, 1)).ErrorCode, nil)
	}
	w.want(w.produce(11, nil, 1, oneRecord(-1, -1, -1, false, "news")).ErrorCode, nil)
	got := w.inSession(from("User:ann", inner), sessionFetch("t", id, 1, 0, 0))
	w.want(got.ErrorCode, nil)
	if got.SessionID != id || len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 || got.Topics[0].Partitions[0].Partition != 1 {
		t.Errorf("answered with %+v", got)
	}
	w.want(w.inSession(from("User:ann", inner), sessionFetch("t", id, noSessionEpoch, 0, 0)).ErrorCode, nil)
	w.want(w.inSession(from("User:ann", inner), sessionFetch("t", id, 2, 0, 0)).ErrorCode, kerr.FetchSessionIDNotFound)
}

// TestOneRequestOfASessionAtATime: a request that is sent again, by whatever
// connection, comes too late, and one that still waits when the client has gone on is
// told so, as by Kafka.
func TestOneRequestOfASessionAtATime(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := w.inSession(NewConn("a", "/a"), sessionFetch("t", 0, newSessionEpoch, 0, 1)).SessionID
	waits := sessionFetch("t", id, 1, 0, 0)
	waits.MinBytes, waits.MaxWaitMillis = 1, 1000
	var late *kmsg.FetchResponse
	w.Handle(NewConn("a", "/a"), waits, func(r kmsg.Response) { late = r.(*kmsg.FetchResponse) })
	again := w.inSession(NewConn("b", "/b"), sessionFetch("t", id, 1, 0, 0))
	w.want(again.ErrorCode, kerr.InvalidFetchSessionEpoch)
	if again.SessionID != 0 {
		t.Error("an error is told with the id of the session")
	}
	w.want(w.inSession(NewConn("b", "/b"), sessionFetch("t", id, 2, 0, 0)).ErrorCode, nil)
	w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, "news")).ErrorCode, nil)
	w.pass(0)
	if late == nil || late.SessionID != id || len(late.Topics) != 0 {
		t.Fatalf("the one that waited is answered with %+v", late)
	}
	w.want(late.ErrorCode, kerr.InvalidFetchSessionEpoch)
	if got := w.inSession(NewConn("b", "/b"), sessionFetch("t", id, 3, 0, 0)); got.ErrorCode != 0 || len(got.Topics) != 1 {
		t.Errorf("the news is answered with %+v", got)
	}
}

// TestSessionsOfWhoLostItsRights: what a session fetches is judged with each request, and
// again when one that waits goes on: who may not read any more gets no records, and is
// not told where the partition stands.
func TestSessionsOfWhoLostItsRights(t *testing.T) {
	for _, version := range []int16{12, 13} {
		w := newSecured(t)
		w.topic("t", 1)
		w.grant(onTopic(kmsg.ACLOperationRead)...)
		c := eve()
		var got *fetchAnswer
		fetch := func(id, epoch int32, parts int) {
			req := sessionFetch("t", id, epoch, 0, parts)
			req.Version, req.MaxBytes, req.MinBytes, req.MaxWaitMillis = version, 1<<20, 1, 1000
			if parts > 0 {
				req.Topics[0].TopicID, req.Topics[0].Partitions[0].PartitionMaxBytes = w.topics.byName("t").id, 1<<20
			}
			got = nil
			w.Handle(c, req, func(r kmsg.Response) { got = r.(*fetchAnswer) })
		}
		fetch(0, newSessionEpoch, 1)
		w.pass(time.Second)
		if got == nil || got.SessionID == 0 {
			t.Fatalf("version %d: no session begins: %+v", version, got)
		}
		id := got.SessionID
		refused := func(what string) {
			t.Helper()
			if got == nil || fetchedBytes(got) > 0 || len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
				t.Fatalf("version %d, %s: %+v", version, what, got)
			}
			p := got.Topics[0].Partitions[0]
			w.want(p.ErrorCode, kerr.TopicAuthorizationFailed)
			if p.HighWatermark != -1 || p.LastStableOffset != -1 || p.LogStartOffset != -1 {
				t.Errorf("version %d, %s: told %+v", version, what, p)
			}
		}
		fetch(id, 1, 0)
		if got != nil {
			t.Fatalf("version %d: does not wait: %+v", version, got.Topics)
		}
		w.grant()
		w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, "secret")).ErrorCode, nil)
		w.pass(time.Second)
		refused("that waited")
		fetch(id, 2, 0)
		refused("asked after")
		w.grant(onTopic(kmsg.ACLOperationRead)...)
		if fetch(id, 3, 0); got == nil || fetchedBytes(got) == 0 {
			t.Errorf("version %d: with its rights again: %+v", version, got)
		}
	}
}

// TestSessionsTellWhatIsNews: a partition that a request names again is not told again
// if nothing is new, and a session is of names or of ids, as by Kafka.
func TestSessionsTellWhatIsNews(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	c := NewConn("c", "/c")
	id := w.inSession(c, sessionFetch("t", 0, newSessionEpoch, 0, 1)).SessionID
	if got := w.inSession(c, sessionFetch("t", id, 1, 0, 1)); got.SessionID != id || len(got.Topics) != 0 {
		t.Errorf("named again: %+v", got)
	}
	byID := sessionFetch("t", id, 2, 0, 0)
	byID.Version = 13
	w.want(w.inSession(c, byID).ErrorCode, kerr.FetchSessionTopicIDError)
	w.want(w.inSession(c, sessionFetch("t", id, 2, 0, 0)).ErrorCode, nil)
	w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	moves := sessionFetch("t", id, 3, 0, 1)
	moves.Topics[0].Partitions[0].FetchOffset = 1
	if got := w.inSession(c, moves); len(got.Topics) != 1 || got.Topics[0].Partitions[0].HighWatermark != 1 {
		t.Errorf("a new end: %+v", got)
	}
	deletion := kmsg.NewPtrDeleteRecordsRequest()
	deletion.Version = 2
	deletion.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 1}}}}
	w.want(ask[*kmsg.DeleteRecordsResponse](w, deletion).Topics[0].Partitions[0].ErrorCode, nil)
	if got := w.inSession(c, sessionFetch("t", id, 4, 0, 0)); len(got.Topics) != 1 || got.Topics[0].Partitions[0].LogStartOffset != 1 {
		t.Errorf("a new start: %+v", got)
	}
	if got := w.inSession(c, sessionFetch("t", id, 5, 0, 0)); got.ErrorCode != 0 || len(got.Topics) != 0 {
		t.Errorf("nothing is new: %+v", got)
	}
	id = w.inSession(c, sessionFetch("t", id, newSessionEpoch, 0, 0)).SessionID
	for epoch := int32(1); epoch < 3; epoch++ {
		ahead := sessionFetch("t", id, epoch, 0, 1)
		ahead.Version = 12
		p := &ahead.Topics[0].Partitions[0]
		p.FetchOffset, p.LastFetchedEpoch = 9, w.epoch
		if got := w.inSession(c, ahead); len(got.Topics) != 1 || got.Topics[0].Partitions[0].DivergingEpoch.EndOffset != 1 {
			t.Errorf("a client that has more than the log, told %d times: %+v", epoch-1, got)
		}
	}
	strange := sessionFetch("t", id, noSessionEpoch, 0, 1)
	strange.Version, strange.Topics[0].Partitions[0].LastFetchedEpoch = 12, w.epoch+1
	w.want(w.inSession(c, strange).Topics[0].Partitions[0].ErrorCode, kerr.OffsetOutOfRange)
}

// TestSessionsDoNotGrowWithoutEnd: a session ends with the request that would make it
// larger than a request can be, and keeps nothing that this broker does not know.
func TestSessionsDoNotGrowWithoutEnd(t *testing.T) {
	w := newWorkbench(t)
	c := NewConn("c", "/c")
	id := w.inSession(c, sessionFetch("nowhere", 0, newSessionEpoch, 0, maxElements)).SessionID
	w.want(w.inSession(c, sessionFetch("nowhere", id, 1, maxElements, 1)).ErrorCode, kerr.FetchSessionIDNotFound)
	if id == 0 || w.sessions.room != 0 {
		t.Errorf("session %d, and room of %d is taken", id, w.sessions.room)
	}
	strange := sessionFetch("nowhere", 0, newSessionEpoch, 0, 1)
	strange.Topics[0].Partitions[0].UnknownTags.Set(77, make([]byte, 1000))
	id = w.inSession(c, strange).SessionID
	if n := w.sessions.byID[id].parts[0].UnknownTags.Len(); n > 0 {
		t.Errorf("%d fields are kept that are not known", n)
	}
}

// TestSessionsThatAreEmpty: one may begin with nothing, and ends when nothing is left.
// What is named and forgotten by one request is forgotten.
func TestSessionsThatAreEmpty(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	c := NewConn("c", "/c")
	id := w.inSession(c, sessionFetch("t", 0, newSessionEpoch, 0, 0)).SessionID
	if got := w.inSession(c, sessionFetch("t", id, 1, 0, 1)); id == 0 || got.SessionID != id || len(got.Topics) != 1 {
		t.Errorf("session %d, answered with %+v", id, got)
	}
	forget := sessionFetch("t", id, 2, 0, 1)
	forget.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{0}}}
	got := w.inSession(c, forget)
	w.want(got.ErrorCode, nil)
	if got.SessionID != 0 {
		t.Error("a session of nothing goes on")
	}
	w.want(w.inSession(c, sessionFetch("t", id, 3, 0, 0)).ErrorCode, kerr.FetchSessionIDNotFound)
}

// TestSessionsMakeWay: when there are as many as may be, whose was not used for two
// minutes makes way, or one that is smaller and old; otherwise a fetch is served
// without one.
func TestSessionsMakeWay(t *testing.T) {
	const minute = time.Minute
	type step struct {
		after time.Duration
		use   string // the session that is used, or
		begin string // that begins, with as many partitions
		size  int
		gone  string // the one that makes way; "-" says that none does, and none begins
	}
	for name, steps := range map[string][]step{
		"none is old":                 {{begin: "a", size: 1}, {begin: "b", size: 1}, {after: 2 * minute, begin: "c", size: 9, gone: "-"}},
		"not used for long":           {{begin: "a", size: 5}, {after: minute, begin: "b", size: 1}, {after: minute + 1, begin: "c", size: 1, gone: "a"}},
		"used meanwhile":              {{begin: "a", size: 5}, {begin: "b", size: 5}, {after: minute, use: "a"}, {after: minute + 1, begin: "c", size: 1, gone: "b"}},
		"a larger one":                {{begin: "a", size: 2}, {begin: "b", size: 3}, {after: 2*minute + 1, use: "a"}, {use: "b"}, {begin: "c", size: 3, gone: "a"}},
		"not a larger one":            {{begin: "a", size: 2}, {begin: "b", size: 2}, {after: 2*minute + 1, use: "a"}, {use: "b"}, {begin: "c", size: 2, gone: "-"}},
		"a smaller one that is new":   {{begin: "a", size: 4}, {after: 2 * minute, use: "a"}, {begin: "b", size: 2}, {after: 1, use: "a"}, {begin: "c", size: 3, gone: "-"}},
		"again after one was refused": {{begin: "a", size: 1}, {begin: "b", size: 2}, {after: 2*minute + 1, use: "a"}, {use: "b"}, {begin: "c", size: 1, gone: "-"}, {begin: "d", size: 3, gone: "a"}, {begin: "e", size: 4, gone: "b"}},
		"too many partitions":         {{begin: "a", size: 6}, {begin: "b", size: 5, gone: "-"}, {begin: "c", size: 4}, {after: 2*minute + 1, begin: "d", size: 5, gone: "a"}},
		"more than fit at all":        {{begin: "a", size: 1}, {after: 3 * minute, begin: "b", size: 11, gone: "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			w.Kill()
			w.cfg.Limits.FetchSessions, w.cfg.Limits.FetchSessionPartitions = 2, 10
			w.open()
			c := NewConn("c", "/c")
			ids, epochs := map[string]int32{}, map[string]int32{}
			for i, s := range steps {
				w.pass(s.after)
				if s.use != "" {
					epochs[s.use]++
					w.want(w.inSession(c, sessionFetch("t", ids[s.use], epochs[s.use], 0, 0)).ErrorCode, nil)
					continue
				}
				got := w.inSession(c, sessionFetch("t", 0, newSessionEpoch, 0, s.size))
				w.want(got.ErrorCode, nil)
				if begun := got.SessionID != 0; begun == (s.gone == "-") {
					t.Fatalf("step %d: session %d", i, got.SessionID)
				}
				if got.SessionID != 0 {
					ids[s.begin] = got.SessionID
				}
				if s.gone != "" && s.gone != "-" {
					if w.sessions.byID[ids[s.gone]] != nil {
						t.Fatalf("step %d: %s has not made way", i, s.gone)
					}
					delete(ids, s.gone)
				}
				if len(w.sessions.byID) != len(ids) {
					t.Fatalf("step %d: %d sessions, want %d", i, len(w.sessions.byID), len(ids))
				}
			}
		})
	}
}

// TestSessionsAreBounded: what all clients have the broker remember in sessions is
// bounded, whether the topics exist or not; who comes when it is full is served
// without one, and what ends makes room.
func TestSessionsAreBounded(t *testing.T) {
	w := newSecured(t)
	c := eve()
	parts := func(name string, id, epoch int32, from, n int) *kmsg.FetchResponse {
		return w.inSession(c, sessionFetch(name, id, epoch, from, n))
	}
	each := w.Broker.cfg.Limits.FetchSessionPartitions / 4
	var ids []int32
	for i := range 4 {
		got := parts("nowhere", 0, newSessionEpoch, 0, each)
		if got.SessionID == 0 {
			t.Fatalf("session %d: none while there is room", i)
		}
		ids = append(ids, got.SessionID)
	}
	for _, name := range []string{"nowhere", strings.Repeat("x", 30_000)} {
		if got := parts(name, 0, newSessionEpoch, 0, 1); got.SessionID != 0 || got.ErrorCode != 0 || len(got.Topics) != 1 {
			t.Errorf("when it is full: session %d, error %d, %d topics", got.SessionID, got.ErrorCode, len(got.Topics))
		}
	}
	w.want(parts("nowhere", ids[0], 1, each, 1).ErrorCode, kerr.FetchSessionIDNotFound)
	if got := w.sessions.room; got != int64(3*each) {
		t.Errorf("room of %d taken after one has ended, want %d", got, 3*each)
	}
	if got := parts(strings.Repeat("x", 30_000), 0, newSessionEpoch, 0, each/100); got.SessionID != 0 {
		t.Error("long names cost no more than short ones")
	}
	if got := parts("nowhere", 0, newSessionEpoch, 0, 10); got.SessionID == 0 {
		t.Error("no session when there is room again")
	} else {
		ids = append(ids, got.SessionID)
	}
	// What is forgotten takes no memory.
	forget := sessionFetch("nowhere", ids[1], 1, 0, 0)
	forget.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "nowhere"}}
	for i := range each - 1 {
		forget.ForgottenTopics[0].Partitions = append(forget.ForgottenTopics[0].Partitions, int32(i))
	}
	w.want(w.inSession(c, forget).ErrorCode, nil)
	if s := w.sessions.byID[ids[1]]; cap(s.parts) > 100 || s.held != 1 {
		t.Errorf("a session of one partition has memory for %d, and takes room for %d", cap(s.parts), s.held)
	}
	for _, id := range ids {
		parts("nowhere", id, noSessionEpoch, 0, 0)
	}
	if got := w.sessions.room; got != 0 || w.sessions.used.Len() != 0 {
		t.Errorf("room of %d is taken by nobody", got)
	}
}

// TestSessionsOfManyAtOnce: whoever uses the same session at once, each of its requests
// is taken once, and what sessions take is counted.
func TestSessionsOfManyAtOnce(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Synchronous, w.cfg.Limits.FetchSessions = false, 8
	w.open()
	const clients, rounds = 4, 200
	id := w.inSession(NewConn("c", "/c"), sessionFetch("t", 0, newSessionEpoch, 0, 1)).SessionID
	var taken atomic.Int32
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			c := NewConn("c", "/c")
			for epoch := int32(1); epoch <= rounds; {
				got := w.inSession(c, sessionFetch("t", id, epoch, int(epoch)%50, 1))
				if got.SessionID == id { // others come too late
					taken.Add(1)
				}
				if got.ErrorCode != 0 && got.ErrorCode != kerr.InvalidFetchSessionEpoch.Code {
					t.Errorf("client %d: %v", n, kerr.ErrorForCode(got.ErrorCode))
					return
				}
				epoch++ // another has been there
				w.inSession(c, sessionFetch("u", 0, newSessionEpoch, 0, n))
			}
		})
	}
	all.Wait()
	if got := taken.Load(); got != rounds {
		t.Errorf("%d requests of %d are taken", got, rounds)
	}
	held := int64(0)
	for _, s := range w.sessions.byID {
		held += int64(len(s.parts))
	}
	if held != w.sessions.room || len(w.sessions.byID) != w.sessions.used.Len() || len(w.sessions.byID) > 8 {
		t.Errorf("%d sessions with %d partitions, room of %d in a list of %d", len(w.sessions.byID), held, w.sessions.room, w.sessions.used.Len())
	}
}
