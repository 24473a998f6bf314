package logbroker

import (
	"math"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestSessionsBeginWithTheirVersion: version 7 is the first that has sessions; to who asks
// by an older one it is as if there were none.
func TestSessionsBeginWithTheirVersion(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	c := NewConn("c", "/c")
	old := sessionFetch("t", 0, newSessionEpoch, 0, 1)
	old.Version = 6
	if got := w.inSession(c, old); got.SessionID != 0 || len(got.Topics) != 1 || len(w.sessions.byID) != 0 {
		t.Errorf("version 6: session %d of %d, %d topics", got.SessionID, len(w.sessions.byID), len(got.Topics))
	}
	first := sessionFetch("t", 0, newSessionEpoch, 0, 1)
	first.Version = 7
	begun := w.inSession(c, first)
	if begun.SessionID == 0 || len(begun.Topics) != 1 {
		t.Fatalf("version 7: session %d, %d topics", begun.SessionID, len(begun.Topics))
	}
	next := sessionFetch("t", begun.SessionID, 1, 0, 0)
	next.Version = 7
	got := w.inSession(c, next)
	if w.want(got.ErrorCode, nil); got.SessionID != begun.SessionID || len(got.Topics) != 0 {
		t.Errorf("version 7 again: session %d, %d topics without news", got.SessionID, len(got.Topics))
	}
	late := sessionFetch("t", begun.SessionID, 1, 0, 0)
	late.Version = 7
	w.want(w.inSession(c, late).ErrorCode, kerr.InvalidFetchSessionEpoch)
}

// TestASessionThatIsRefusedDoesNotBegin: who is over its limit with the first fetch of a
// session is told of none, and may begin it later.
func TestASessionThatIsRefusedDoesNotBegin(t *testing.T) {
	w, _ := fetchLimited(t, 1000, 8000, 8000)
	c := eve()
	fetch := func(offset int64) *kmsg.FetchResponse {
		t.Helper()
		req := sessionFetch("t", 0, newSessionEpoch, 0, 1)
		req.MaxBytes, req.Topics[0].Partitions[0].FetchOffset, req.Topics[0].Partitions[0].PartitionMaxBytes = 1<<20, offset, 1<<20
		resp := w.inSession(c, req)
		w.want(resp.ErrorCode, nil)
		return resp
	}
	if got := fetch(0); got.SessionID == 0 || len(got.Topics) != 1 {
		t.Fatalf("within the limit: session %d, %d topics", got.SessionID, len(got.Topics))
	}
	got := fetch(1)
	if got.SessionID != 0 || len(got.Topics) != 0 || got.ThrottleMillis == 0 || len(w.sessions.byID) != 1 {
		t.Fatalf("over the limit: session %d of %d, %d topics, to wait %d ms", got.SessionID, len(w.sessions.byID), len(got.Topics), got.ThrottleMillis)
	}
	w.now = w.now.Add(time.Minute)
	if got := fetch(1); got.SessionID == 0 || len(got.Topics) != 1 {
		t.Errorf("a minute later: session %d, %d topics", got.SessionID, len(got.Topics))
	}
}

// TestALargeLimitGivesNoMoreThanWasAsked: a limit bounds what is fetched at once, and the
// client does.
func TestALargeLimitGivesNoMoreThanWasAsked(t *testing.T) {
	w, _ := fetchLimited(t, 1e9, 1000, 1000, 1000)
	req := longFetch()
	req.MaxBytes = 1500
	if got := w.inSession(eve(), req); w.countBatches(got.Topics[0].Partitions[0].RecordBatches) != 1 {
		t.Errorf("%d bytes of %d are given", len(got.Topics[0].Partitions[0].RecordBatches), req.MaxBytes)
	}
}

// TestOnlyNewsCount: what an answer counts as is what it takes, also in a session, where
// partitions without news are left out.
func TestOnlyNewsCount(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 5)
	w.topic("quiet", 5)
	c := eve()
	begin := sessionFetch("t", 0, newSessionEpoch, 0, 5)
	begin.Topics = append(begin.Topics, sessionFetch("quiet", 0, 0, 0, 5).Topics...)
	id := w.inSession(c, begin).SessionID
	w.want(w.produce(12, nil, 3, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	next := sessionFetch("t", id, 1, 0, 0)
	f := &fetch{b: w.Broker, r: &request{conn: c, respond: func(kmsg.Response) {}}, who: who{w.Broker, c}, req: next, maxBytes: 1 << 20}
	if err := f.begin(); err != nil {
		t.Fatal(err)
	}
	f.read()
	size := f.size()
	f.respond()
	frame, cuts := (&fetchAnswer{FetchResponse: f.resp, ranges: f.found}).appendTo(nil)
	want := 4 + len(frame)
	for _, cut := range cuts {
		want += cut.size
	}
	if size != want || len(f.resp.Topics) != 1 || len(f.resp.Topics[0].Partitions) != 1 {
		t.Errorf("%d topics count as %d bytes of %d", len(f.resp.Topics), size, want)
	}
}

// TestAnsweredFetchesAreLetGo: a connection keeps none of the fetches that were answered.
func TestAnsweredFetchesAreLetGo(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	c := NewConn("c", "/c")
	for i := range 3 {
		answers := 0
		req := longFetch()
		req.Topics[0].Partitions[0].FetchOffset = int64(i)
		w.Handle(c, req, func(kmsg.Response) { answers++ })
		if len(c.parked.list) != 1 || answers != 0 {
			t.Fatalf("%d wait, %d answered", len(c.parked.list), answers)
		}
		w.want(w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
		if len(c.parked.list) != 0 || answers != 1 {
			t.Errorf("%d wait still, %d answered", len(c.parked.list), answers)
		}
	}
}

// TestEpochsThatTheLogHasNot: a client whose last record is of a leader epoch that the log
// has none of is told where to go back to, though its offset is there (KIP-320).
func TestEpochsThatTheLogHasNot(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	produce := func() { w.want(w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil) }
	produce()
	first := w.epoch
	w.restart() // nothing is written under this epoch
	w.restart()
	produce()
	produce()
	req := longFetch()
	req.Topics[0].Partitions[0].FetchOffset, req.Topics[0].Partitions[0].LastFetchedEpoch = 1, first+1
	got := w.inSession(NewConn("c", "/c"), req).Topics[0].Partitions[0]
	if w.want(got.ErrorCode, nil); got.DivergingEpoch.Epoch != first || got.DivergingEpoch.EndOffset != 1 || len(got.RecordBatches) > 0 {
		t.Errorf("it diverges at %+v, want epoch %d; %d bytes", got.DivergingEpoch, first, len(got.RecordBatches))
	}
	req.Topics[0].Partitions[0].LastFetchedEpoch = first
	if got := w.inSession(NewConn("c", "/c"), req).Topics[0].Partitions[0]; got.DivergingEpoch.EndOffset != -1 || w.countBatches(got.RecordBatches) != 2 {
		t.Errorf("one that has what the log has: %+v, %d bytes", got.DivergingEpoch, len(got.RecordBatches))
	}
}

// TestSessionsGoRound: the epoch after the largest is 1, and a session that has made way
// while it was used is not counted.
func TestSessionsGoRound(t *testing.T) {
	if got := nextSession(math.MaxInt32); got != 1 {
		t.Errorf("epoch %d", got)
	}
	w := newWorkbench(t)
	id := w.inSession(NewConn("c", "/c"), sessionFetch("t", 0, newSessionEpoch, 0, 3)).SessionID
	s := w.sessions.byID[id]
	w.sessions.drop(id, s.owner)
	if !w.sessions.touch(s, w.now) || w.sessions.room != 0 || w.sessions.used.Len() != 0 {
		t.Errorf("room of %d is taken by %d", w.sessions.room, w.sessions.used.Len())
	}
}
