package commitlog

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestRetention walks a log of five segments, one second apart, through bounds.
func TestRetention(t *testing.T) {
	start := time.UnixMilli(1_700_000_000_000)
	no := Retention{Age: -1, Bytes: -1}
	for _, test := range []struct {
		name  string
		keep  Retention
		open  bool // a transaction is open since the third segment
		later time.Duration
		want  int64 // Start
	}{
		{"no bound", no, false, time.Hour, 0},
		{"young", Retention{Age: 10 * time.Second, Bytes: -1}, false, 5 * time.Second, 0},
		{"two are old", Retention{Age: 10 * time.Second, Bytes: -1}, false, 12*time.Second - time.Millisecond, 2},
		{"all are old", Retention{Age: 10 * time.Second, Bytes: -1}, false, time.Minute, 5},
		{"nothing is kept", Retention{Age: -1, Bytes: 0}, false, 0, 5},
		{"two and a part", Retention{Age: -1, Bytes: 150}, false, 0, 2},
		{"exactly two fit", Retention{Age: -1, Bytes: 2 * 69}, false, 0, 3},
		{"a transaction is open", Retention{Age: 0, Bytes: -1}, true, time.Hour, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := start
			cfg := testConfig(vfs.NewMem())
			cfg.SegmentBytes, cfg.Now = 1, func() time.Time { return now }
			l := mustOpen(t, cfg)
			for i := range 5 {
				from := source{}
				if test.open && i == 2 {
					from = source{id: 4, transactional: true}
				}
				if _, err := l.Append(makeBatch(from, start.UnixMilli()+int64(i)*1000, "v"), nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			now = now.Add(test.later)
			failed := errors.New("not recorded")
			if _, err := l.Retain(test.keep, func(int64) error { return failed }); l.Start() != 0 || test.want > 0 && !errors.Is(err, failed) {
				t.Errorf("start %d, %v, though it was not recorded", l.Start(), err)
			}
			recorded := int64(0)
			removed, err := l.Retain(test.keep, func(to int64) error { recorded = to; return nil })
			if err != nil || l.Start() != test.want || recorded != test.want {
				t.Fatalf("start %d, recorded %d, want %d; %v", l.Start(), recorded, test.want, err)
			}
			if left := l.SizeBytes(); removed+left != 5*left/(5-min(test.want, 4)) && test.want < 5 {
				t.Errorf("%d bytes removed, %d left", removed, left)
			}
			end := l.End()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			cfg.LogStart = recorded
			l = mustOpen(t, cfg)
			if l.Start() != test.want || l.End() != end {
				t.Errorf("after a restart: %d to %d, want %d to %d", l.Start(), l.End(), test.want, end)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestSegmentAge: a batch that is too much younger than the first of its
// segment begins another, also after a restart, whatever clients say.
func TestSegmentAge(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes, cfg.SegmentAge = 1<<20, time.Minute
	l := mustOpen(t, cfg)
	put := func(ms int64, want int) {
		t.Helper()
		if _, err := l.Append(makeBatch(source{}, ms, "v"), nil); err != nil {
			t.Fatal(err)
		}
		if n := len(*l.segments.Load()); n != want {
			t.Errorf("at %d ms: %d segments, want %d", ms, n, want)
		}
	}
	put(1_000, 1)
	put(61_000, 1)
	put(0, 1)
	put(61_001, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	put(121_001, 2)
	put(121_002, 3)
	put(1<<62, 4)
	put(-1<<62, 4)
	l.SetSegmentLimits(1, 0)
	put(-1<<62, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSeals: every sealed segment gets its sum, which finds what no CRC of a
// batch covers.
func TestSeals(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes = 1
	l := mustOpen(t, cfg)
	for range 4 {
		mustAppend(t, l, source{}, "v")
	}
	for n := 0; ; n++ {
		more, err := l.Seal()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			if n != 3 {
				t.Errorf("%d segments were sealed, want 3", n)
			}
			break
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	name := cfg.FS.PathJoin(testDir, logName(1))
	f, err := cfg.FS.OpenReadWrite(name, writeCategory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, 15); err != nil { // the leader epoch of the batch
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), cfg.FS.Remove(cfg.FS.PathJoin(testDir, checkpointFile))); err != nil {
		t.Fatal(err)
	}
	cfg.LeaderEpoch = 5
	if _, err := Open(cfg); !errors.Is(err, ErrCorrupt) {
		t.Errorf("opened a segment that its seal does not fit: %v", err)
	}
}
