package logbroker

import (
	"testing"
	"time"
)

// TestPacing: one slow sync of the file system has written what others had left, and
// the next comes at once; while they stay slow the pauses double, up to a bound, and
// quick ones shorten them again.
func TestPacing(t *testing.T) {
	const quick, slow = time.Millisecond, time.Second
	var p pacing
	now := time.UnixMilli(1_700_000_000_000)
	took := func(d time.Duration) time.Duration {
		p.took(d, slowSync, now)
		pause := max(0, p.until.Sub(now))
		if p.allows(now) != (pause == 0) || !p.allows(now.Add(pause)) {
			t.Fatalf("after %v: it allows another in %v", d, pause)
		}
		now = now.Add(pause)
		return pause
	}
	for i, step := range []struct{ took, pause time.Duration }{
		{quick, 0},
		{slow, 0},
		{slow, shortPause},
		{slow, 2 * shortPause},
		{quick, 0},
		{slow, 0},
		{slow, 2 * shortPause},
		{slow, 4 * shortPause},
		{slow, 8 * shortPause},
		{slow, 16 * shortPause},
		{slow, longPause},
		{slow, longPause},
		{quick, 0},
		{quick, 0},
		{quick, 0},
		{quick, 0},
		{quick, 0},
		{quick, 0},
		{slow, 0},
		{slow, shortPause},
	} {
		if got := took(step.took); got != step.pause {
			t.Fatalf("step %d, after %v: a pause of %v, want %v", i, step.took, got, step.pause)
		}
	}
}
