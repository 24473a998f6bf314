package commitlog

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

// wideBatch is a batch of one record that takes more offsets than it has records, as
// compaction leaves them.
func wideBatch(key, value string, offsets int32) recordbatch.Batch {
	var b recordbatch.Builder
	b.Append(1000, []byte(key), []byte(value), nil)
	batch := b.Batch()
	binary.BigEndian.PutUint32(batch[23:], uint32(offsets-1))
	batch.SetCRC()
	return batch
}

// TestOffsetsFarApart: no segment holds offsets further apart than its index can
// say, neither one that is written to nor one that compaction makes of many, and
// each is found again, with the index and without.
func TestOffsetsFarApart(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 1<<20, 1
	l := mustOpen(t, cfg)
	const batches, offsets = 9, 1 << 30
	for i := range batches {
		l.appends.Lock()
		err := l.write(wideBatch(fmt.Sprint("k", i%5), fmt.Sprint("v", i), offsets))
		l.appends.Unlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	if l.End() != batches*offsets {
		t.Fatalf("end %d", l.End())
	}
	check := func(what string, want int) {
		t.Helper()
		found := 0
		for _, s := range *l.segments.Load() {
			if apart := s.end.Load() - 1 - s.base; apart > math.MaxInt32 {
				t.Errorf("%s: segment %d has offsets %d apart", what, s.base, apart)
			}
		}
		for i := range int64(batches) {
			for _, offset := range []int64{i * offsets, i*offsets + 1, (i+1)*offsets - 1} {
				chunk, err := l.Read(offset, l.End(), 1, true, nil)
				if err != nil {
					t.Fatalf("%s: Read(%d): %v", what, offset, err)
				}
				for _, got := range splitValues(t, chunk) {
					if value := fmt.Sprint("v", got.offset/offsets); got.value != value {
						t.Errorf("%s: %q at offset %d, want %q", what, got.value, got.offset, value)
					}
					if got.offset == i*offsets && offset == got.offset {
						found++
					}
				}
			}
		}
		if found != want {
			t.Errorf("%s: %d records, want %d", what, found, want)
		}
	}
	check("written", batches)
	reopen := func() {
		t.Helper()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, cfg)
	}
	reopen()
	check("opened", batches)
	removeDerived := func() {
		t.Helper()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		names, err := fs.List(testDir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.HasSuffix(name, logSuffix) && !strings.HasSuffix(name, sealSuffix) {
				if err := fs.Remove(fs.PathJoin(testDir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		l = mustOpen(t, cfg)
	}
	removeDerived()
	check("without indexes", batches)
	reopen() // writes the checkpoint that compaction goes by
	before := len(*l.segments.Load())
	stats, err := l.Compact(NewCompactor(1<<16), Compaction{})
	if err != nil || stats.Records == 0 {
		t.Fatalf("%+v, %v", stats, err)
	}
	left := batches - int(stats.Records)
	check("compacted", left)
	if after := len(*l.segments.Load()); after > before {
		t.Errorf("%d segments after %d", after, before)
	}
	reopen()
	check("compacted and opened", left)
	removeDerived()
	check("compacted, without indexes", left)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSegmentOfTheLargestSize: the last byte of a segment may be the last that a
// position of Kafka can name, and no further; each batch is found, also with the index as
// it was written. Between the first batch and the last is a hole.
func TestSegmentOfTheLargestSize(t *testing.T) {
	cfg := testConfig(vfs.Default)
	cfg.Dir, cfg.IndexIntervalBytes = t.TempDir(), 1
	cfg.SegmentBytes = math.MaxInt32
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{}, "first")
	last := makeBatch(source{}, 1000, "last")
	seg := l.active()
	seg.size.Store(math.MaxInt32 - int64(len(last)))
	for _, want := range []struct {
		segments int
		base     int64
	}{{1, 0}, {2, 2}} {
		res := mustAppend(t, l, source{}, "last")
		if n := len(*l.segments.Load()); n != want.segments || l.active().base != want.base {
			t.Fatalf("offset %d: %d segments, the last begins at %d; want %v", res.BaseOffset, n, l.active().base, want)
		}
	}
	if got := seg.size.Load(); got != math.MaxInt32 {
		t.Errorf("the segment has %d bytes, want %d", got, math.MaxInt32)
	}
	for _, how := range []string{"as it was built", "as it was written"} {
		var at int64
		if err := seg.withIndex(func(x *sparseIndex) { at = x.position(1) }); err != nil || at != math.MaxInt32-int64(len(last)) {
			t.Errorf("index %s: the last batch is sought from %d, %v", how, at, err)
		}
		chunk, err := l.Read(1, 2, 1<<20, true, nil)
		if got := splitValues(t, chunk); err != nil || len(got) != 1 || got[0].value != "last" {
			t.Errorf("index %s: read %v, %v", how, got, err)
		}
		if err := seg.writeIndex(false); err != nil {
			t.Fatal(err)
		}
		seg.unloadIndex()
	}
	l.SetSegmentLimits(1<<40, 0)
	if got := l.limits.Load().sizeBytes; got != math.MaxInt32 {
		t.Errorf("segments may have %d bytes", got)
	}
	if err := l.Discard(); err != nil {
		t.Error(err)
	}
}

// TestIndexOfAGrownSegment: compaction may make a segment larger than one that is written
// to: records are compressed anew. Its index says where its batches are up to 4 GiB, and
// leads to the last of those behind that.
func TestIndexOfAGrownSegment(t *testing.T) {
	x := newIndex(0, 1)
	positions := []int64{0, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32 - 1, math.MaxUint32, math.MaxUint32 + 1, math.MaxUint32 + 2}
	for i, position := range positions {
		b := makeBatch(source{}, 1000+int64(i), "v")
		b.SetBaseOffset(int64(i))
		x.add(b, position)
	}
	offsets, times := x.encode(indexSizes{})
	read := newIndex(0, 1)
	if err := read.decode(offsets, times, math.MaxUint32+100, int64(len(positions))); err != nil {
		t.Fatal(err)
	}
	for i, position := range positions {
		want := min(position, math.MaxUint32)
		if got, again := x.position(int64(i)), read.position(int64(i)); got != want || again != want {
			t.Errorf("offset %d is sought from %d, and %d as it was written; want %d", i, got, again, want)
		}
		if got := x.offsetBefore(1000 + int64(i)); got > int64(i) {
			t.Errorf("time %d is sought from offset %d", i, got)
		}
	}
}

// TestTimesOutOfOrder: which offset is found for a time, where producers' clocks
// differ, is what a look at every record says; also after the indexes were lost.
func TestTimesOutOfOrder(t *testing.T) {
	rng := testRNG()
	for round := range 20 {
		fs := vfs.NewMem()
		cfg := testConfig(fs)
		cfg.IndexIntervalBytes = 1 + rng.IntN(300)
		l := mustOpen(t, cfg)
		var times []int64
		for range 150 {
			var b recordbatch.Builder
			for range 1 + rng.IntN(3) {
				ms := 1000 + rng.Int64N(500)
				if round%3 == 0 { // mostly rising
					ms = int64(10*len(times)) + rng.Int64N(40)
				}
				b.Append(ms, nil, []byte("v"), nil)
				times = append(times, ms)
			}
			batch := b.Batch()
			if round%4 == 3 { // the broker's clock, which was set back
				now := 1000 + rng.Int64N(500)
				batch.SetLogAppendTime(now)
				for i := range batch.Count() {
					times[len(times)-1-int(i)] = now
				}
			}
			batch.SetCRC()
			if _, err := l.Append(batch, nil); err != nil {
				t.Fatal(err)
			}
		}
		check := func(what string) {
			t.Helper()
			for range 200 {
				ms := rng.Int64N(1600)
				want := -1
				for i, at := range times {
					if at >= ms {
						want = i
						break
					}
				}
				offset, at, ok, err := l.OffsetForTime(ms)
				if err != nil || ok != (want >= 0) || ok && (offset != int64(want) || at != times[want]) {
					t.Fatalf("round %d, %s: time %d is at offset %d with %d, %v, %v; want offset %d", round, what, ms, offset, at, ok, err, want)
				}
			}
			newest, first := int64(-1), 0
			for i, at := range times {
				if at > newest {
					newest, first = at, i
				}
			}
			if offset, at, ok, err := l.MaxTimestamp(); err != nil || !ok || at != newest || offset != int64(first) {
				t.Errorf("round %d, %s: the largest time is %d at %d, want %d at %d", round, what, at, offset, newest, first)
			}
		}
		check("written")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, cfg)
		check("opened")
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		for name, data := range readImage(t, fs) {
			if strings.HasSuffix(name, logSuffix) {
				continue
			}
			lost := readImage(t, fs).with(name, nil)
			cfg.FS = lost.write(t)
			l = mustOpen(t, cfg)
			check(fmt.Sprintf("without %s of %d bytes", name, len(data)))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
