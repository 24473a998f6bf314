package logbroker

import (
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// jump is a time at which the wall clock was set, and the steady clock was not: as
// when an administrator, or NTP, sets a machine's clock. Package time makes no such
// times; the first word of one holds the seconds above 30 bits, and a bit for the
// steady clock.
func jump(t testing.TB, at time.Time, d time.Duration) time.Time {
	t.Helper()
	out := at
	word := (*uint64)(unsafe.Pointer(&out))
	*word += uint64(int64(d/time.Second)) << 30
	if out.Sub(at) != 0 || out.Round(0).Sub(at.Round(0)) != d {
		t.Skipf("times have another form in this Go: %v and %v", at, out)
	}
	return out
}

// TestWallClockJumps: when the clock of the machine is set, years ahead or back,
// members of both protocols, open transactions and clients that wait are as before.
func TestWallClockJumps(t *testing.T) {
	for _, d := range []time.Duration{2 * 365 * day, -2 * 365 * day} {
		w := newWorkbench(t)
		w.Kill()
		w.now = time.Now() // has the steady clock
		w.open()
		w.topic("t", 1)
		m := w.joinClassic("")
		w.syncClassic(m.MemberID, m.Generation, map[string][]int32{m.MemberID: {0}})
		join := func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "h" }
		c := w.heart("c", 0, join)
		w.want(c.ErrorCode, nil)
		id := "id"
		pid, epoch := w.initID(id)
		w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
		muted := NewConn("c", "/c")
		muted.throttle(&kmsg.MetadataResponse{}, 10*time.Second, w.now)

		w.now = jump(t, w.now, d)
		w.pass(time.Second)
		w.Clean()
		if got := muted.mutedFor(w.now); got != 9*time.Second {
			t.Errorf("a client that has 9 s to wait waits %v", got)
		}
		w.want(w.heartClassic(m.MemberID, m.Generation), nil)
		w.want(w.heart("c", c.MemberEpoch, join).ErrorCode, nil)
		w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
		w.wantValues(0, "v")

		// Time goes on as it does: who is silent goes, and who hangs is aborted.
		pid, epoch = w.initID(id)
		w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "w")).ErrorCode, nil)
		w.pass(61 * time.Second)
		w.want(w.heartClassic(m.MemberID, m.Generation), kerr.UnknownMemberID)
		w.want(w.heart("c", c.MemberEpoch, join).ErrorCode, kerr.UnknownMemberID)
		w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, kerr.InvalidTxnState)
	}
}

// TestRetentionWithAJumpingClock: a clock that is set ten years ahead, and back,
// costs the records that are old by it, and no others; offsets go on, the start
// never goes back, and the bound by size holds whatever the times are.
func TestRetentionWithAJumpingClock(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("internal.segment.bytes=14", "retention.ms=100000")
	start := int64(0)
	check := func(what string, want ...string) {
		t.Helper()
		w.Clean()
		if got := w.records(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		if now := w.topics.byName("t").parts()[0].log.Start(); now < start {
			t.Errorf("%s: the start goes from %d to %d", what, start, now)
		} else {
			start = now
		}
	}
	normal := w.now
	w.want(w.put("k=1").ErrorCode, nil)
	w.want(w.put("k=2").ErrorCode, nil)
	check("before", "k=1@0", "k=2@1")
	w.now = normal.Add(10 * 365 * day)
	w.want(w.put("k=future").ErrorCode, nil)
	check("ten years ahead", "k=future@2")
	w.now = normal.Add(time.Second)
	// The clock of a producer that was never wrong is far from a broker's that is.
	w.want(w.put("k=3").ErrorCode, nil)
	check("and back", "k=future@2", "k=3@3")
	w.restart()
	check("after a SIGKILL", "k=future@2", "k=3@3")
	w.losePower("boot-2")
	check("after a power loss", "k=future@2", "k=3@3")
	w.pass(101 * time.Second)
	w.want(w.put("k=4").ErrorCode, nil)
	check("what is behind the future waits for it, as in Kafka", "k=future@2", "k=3@3", "k=4@4")
	w.setConfig("retention.bytes", "80")
	check("by size", "k=4@4")
	w.now = normal.Add(-10 * 365 * day)
	w.want(w.put("k=past").ErrorCode, nil)
	check("ten years back", "k=4@4", "k=past@5")
	w.now = normal.Add(time.Hour)
	w.want(w.put("k=5").ErrorCode, nil)
	check("at last", "k=5@6")
}
