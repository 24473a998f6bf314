package logbroker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
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
