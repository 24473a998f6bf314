package commitlog

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/levada/levada/internal/recordbatch"
)

// putAt appends a record of one key and time.
func putAt(t testing.TB, l *Log, key string, ms int64) {
	t.Helper()
	var b recordbatch.Builder
	b.Append(ms, []byte(key), []byte("v"), nil)
	batch := b.Batch()
	batch.SetCRC()
	if _, err := l.Append(batch, nil); err != nil {
		t.Fatal(err)
	}
}

// TestMaxLag: what was not compacted yet is, once it is older than MaxLag, however
// little it is, and whatever the clocks of those who wrote before it.
func TestMaxLag(t *testing.T) {
	const hour = 3_600_000
	for _, test := range []struct {
		name string
		ages []int64 // of the records that were not compacted, in ms
		want bool
	}{
		{"young", []int64{hour - 1, 0}, false},
		{"old", []int64{hour, 0}, true},
		{"behind one from the future", []int64{-hour, hour, 0}, true},
		{"all from the future", []int64{-hour, -1}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.UnixMilli(1_700_000_000_000)
			cfg := testConfig(vfs.NewMem())
			cfg.SegmentBytes, cfg.Now = 1, func() time.Time { return now }
			l := mustOpen(t, cfg)
			put := func(key string, ms int64) {
				t.Helper()
				putAt(t, l, key, ms)
			}
			compact := func() bool {
				t.Helper()
				if err := l.Sync(); err != nil {
					t.Fatal(err)
				}
				stats, err := l.Compact(NewCompactor(1<<16), Compaction{MinDirtyRatio: 0.9, MaxLag: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				return stats.To > 0
			}
			for i := range 50 {
				put(strconv.Itoa(i), now.UnixMilli())
			}
			if !compact() {
				t.Fatal("what is all new was not compacted")
			}
			put("active", now.UnixMilli())
			for i, age := range test.ages {
				put("new"+strconv.Itoa(i), now.UnixMilli()-age)
			}
			put("active", now.UnixMilli())
			if got := compact(); got != test.want {
				t.Errorf("compacted: %v, want %v", got, test.want)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestMinLagIsOfWhatIsNew: what was compacted already holds nothing up, however young
// it is.
func TestMinLagIsOfWhatIsNew(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes, cfg.Now = 1, func() time.Time { return now }
	l := mustOpen(t, cfg)
	for _, step := range []struct {
		age    time.Duration
		minLag time.Duration
		want   int64
	}{
		{0, 0, 2},
		{0, time.Hour, 0},
		{time.Hour, time.Hour, 0}, // behind one that is young and new
		{time.Hour, 0, 11},
		{time.Hour, time.Hour, 14}, // what is young is not new
	} {
		for range 3 {
			putAt(t, l, strconv.FormatInt(l.End(), 10), now.Add(-step.age).UnixMilli())
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		stats, err := l.Compact(NewCompactor(1<<16), Compaction{MinLag: step.minLag})
		if err != nil || stats.To != step.want {
			t.Errorf("%+v: compacted to %d, %v", step, stats.To, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDeletionMeetsCompaction: segments are deleted at any call of the file system
// of a compaction, also while it asks whether it is worth it.
func TestDeletionMeetsCompaction(t *testing.T) {
	for call, reached := 1, true; reached; call++ {
		var l *Log
		calls := 0
		reached = false
		cfg := testConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			// While a file is opened, and inside of its locks, nothing is deleted.
			if l == nil || op.Kind != errorfs.OpFileReadAt && !strings.HasSuffix(op.Path, compactSuffix) || !l.appends.TryLock() {
				return nil
			}
			l.appends.Unlock()
			if calls++; calls != call {
				return nil
			}
			reached = true
			if err := l.DeleteTo(4); err != nil {
				t.Error(err)
			}
			return nil
		})))
		cfg.SegmentBytes = 150
		opened := mustOpen(t, cfg)
		for i := range 12 {
			putAt(t, opened, strconv.Itoa(i%5), 1)
		}
		if err := opened.Sync(); err != nil {
			t.Fatal(err)
		}
		l = opened
		if _, err := l.Compact(NewCompactor(1<<16), Compaction{MinDirtyRatio: 2, MaxLag: time.Hour}); err != nil && !errors.Is(err, ErrClosed) {
			t.Fatalf("call %d: %v", call, err)
		}
		left := map[int64]bool{}
		for _, v := range readCompacted(t, l) {
			left[v.offset] = true
		}
		for at := int64(7); at < 12; at++ {
			if !left[at] {
				t.Fatalf("call %d: %v are left", call, left)
			}
		}
		if !reached && call < 5 {
			t.Fatalf("%d calls", call-1)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDeletionMeetsTheQuestion: the segments from which a compaction begins are
// deleted between its plan and the question whether they are old.
func TestDeletionMeetsTheQuestion(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes = 1
	l := mustOpen(t, cfg)
	for i := range 4 {
		putAt(t, l, strconv.Itoa(i), 1)
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	segs := *l.segments.Load()
	for n := range 3 {
		if err := l.DeleteTo(int64(n + 1)); err != nil {
			t.Fatal(err)
		}
		run := compactRun{log: l, Compactor: NewCompactor(1 << 16), cfg: Compaction{MaxLag: time.Second}, nowMs: 10_000, segments: segs[:3]}
		if got, want := run.overdue(), n < 2; got != want {
			t.Errorf("%d of 3 deleted: overdue %v, want %v", n+1, got, want)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRecordsWithoutTime: records without a timestamp are as old as their segment,
// for retention and for MinLag.
func TestRecordsWithoutTime(t *testing.T) {
	for _, ms := range []int64{-1, math.MinInt64} {
		now := time.Now()
		cfg := testConfig(vfs.NewMem())
		cfg.SegmentBytes, cfg.Now = 1, func() time.Time { return now }
		l := mustOpen(t, cfg)
		for i := range 4 {
			putAt(t, l, strconv.Itoa(i), ms)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		do := func(what string, wantTo, wantStart int64) {
			t.Helper()
			stats, err := l.Compact(NewCompactor(1<<16), Compaction{MinLag: time.Hour})
			if err != nil || stats.To != wantTo {
				t.Errorf("%d ms, %s: compacted to %d, want %d, %v", ms, what, stats.To, wantTo, err)
			}
			if _, err := l.Retain(Retention{Age: 2 * time.Hour, Bytes: -1}, func(int64) error { return nil }); err != nil || l.Start() != wantStart {
				t.Errorf("%d ms, %s: start %d, want %d, %v", ms, what, l.Start(), wantStart, err)
			}
		}
		do("at once", 0, 0)
		now = now.Add(time.Hour + time.Minute)
		do("an hour later", 3, 0)
		now = now.Add(2 * time.Hour)
		do("three hours later", 0, 4)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTimesWhileCompacted: an offset is asked for by time, and while the first segment
// that may have it is looked at, a compaction replaces the others.
func TestTimesWhileCompacted(t *testing.T) {
	var l *Log
	compacted := false
	cfg := testConfig(errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if l == nil || compacted || op.Kind != errorfs.OpFileReadAt || !strings.HasSuffix(op.Path, logSuffix) {
			return nil
		}
		compacted = true
		stats, err := l.Compact(NewCompactor(1<<16), Compaction{})
		if err != nil || stats.Records == 0 {
			t.Errorf("%+v, %v", stats, err)
		}
		return nil
	})))
	cfg.SegmentBytes = 400
	opened := mustOpen(t, cfg)
	putAt(t, opened, "deleted", 100)
	for i := 1; i < 20; i++ {
		putAt(t, opened, strconv.Itoa(i*2/3), int64(40+i)) // every segment has two of a key
	}
	if err := errors.Join(opened.Sync(), opened.DeleteTo(1)); err != nil {
		t.Fatal(err)
	}
	l = opened
	if offset, ms, ok, err := l.OffsetForTime(51); err != nil || !ok || offset != 11 || ms != 51 || !compacted {
		t.Errorf("offset %d at %d, %v, %v; compacted %v", offset, ms, ok, err, compacted)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCompactionLeavesFewFilesOpen: neither what a compaction reads nor what it writes
// stays open, but for what others read too, nor is anything left of its own files.
func TestCompactionLeavesFewFilesOpen(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes = 400
	l := mustOpen(t, cfg)
	for round, removes := range []bool{true, false} {
		for i := range 150 {
			key := strconv.Itoa(1000*round + i)
			if removes {
				key = strconv.Itoa(i * 2 / 3)
			}
			putAt(t, l, key, 1)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if stats, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil || removes && stats.Records == 0 {
			t.Fatalf("%+v, %v", stats, err)
		}
		for more := true; more; {
			var err error
			if more, err = l.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		files, indexes := 0, 0
		for _, s := range *l.segments.Load() {
			if s.file != nil {
				files++
			}
			if s.index != nil {
				indexes++
			}
		}
		if n := len(*l.segments.Load()); n < 20 || files > maxAwake+1 || indexes > maxAwake+1 {
			t.Errorf("round %d: %d segments, %d files open, %d indexes in memory; want at most %d", round, n, files, indexes, maxAwake+1)
		}
	}
	names, err := cfg.FS.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, compactSuffix) || strings.HasSuffix(name, cutSuffix) || name == swapFile {
			t.Errorf("%s is left", name)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestMarkersOfAnIdleProducerGo: where each marker bumps the epoch of its producer
// only the last is needed to know it again, also while the producer is idle.
func TestMarkersOfAnIdleProducerGo(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes, cfg.Now = 1, func() time.Time { return now }
	l := mustOpen(t, cfg)
	for epoch := range int16(5) {
		batch := makeKeyed("key")
		batch.SetProducer(7, epoch, 0, true)
		batch.SetCRC()
		if _, err := l.Append(batch, nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.AppendMarker(Marker{ProducerID: 7, Epoch: epoch + 1, CoordinatorEpoch: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		putAt(t, l, strconv.Itoa(i), 1)
		putAt(t, l, strconv.Itoa(i), 1)
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Compact(NewCompactor(1<<16), Compaction{DeleteRetention: time.Minute}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Hour)
	}
	var epochs []int16
	for next := int64(0); next < l.End(); {
		chunk, err := l.Read(next, l.End(), 1, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := recordbatch.Batch(chunk)
		if next = b.NextOffset(); b.IsControl() {
			epochs = append(epochs, b.ProducerEpoch())
		}
	}
	if !slices.Equal(epochs, []int16{5}) || len(l.Aborted(0, l.End())) != 1 {
		t.Errorf("markers of epochs %d are left, aborted %v", epochs, l.Aborted(0, l.End()))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
