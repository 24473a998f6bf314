package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

// image is the content of a directory.
type image map[string][]byte

func readImage(t testing.TB, fs vfs.FS) image {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	d := &directory{fs, testDir}
	out := image{}
	for _, name := range names {
		if out[name], err = d.readFile(name, 1<<30); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (m image) write(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll(testDir, 0o755); err != nil {
		t.Fatal(err)
	}
	d := &directory{fs, testDir}
	for name, data := range m {
		if err := d.writeFile(name, slices.Clone(data), false); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

// with replaces one file; nil removes it.
func (m image) with(name string, data []byte) image {
	out := image{}
	for n, d := range m {
		out[n] = d
	}
	if data == nil {
		delete(out, name)
	} else {
		out[name] = data
	}
	return out
}

const firstLog = "00000000000000000000.log"

// fourBatches is a log that was killed after four synced batches of two
// records, and where they end.
func fourBatches(t testing.TB) (image, []int64) {
	t.Helper()
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	ends := []int64{0}
	for i := range 4 {
		mustAppend(t, l, source{id: 9, sequence: int32(2 * i), transactional: true}, fmt.Sprint("first of ", i), "second")
		ends = append(ends, l.SizeBytes())
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	return readImage(t, fs), ends
}

// wholeBatches counts the batches that end at or before size.
func wholeBatches(ends []int64, size int64) int {
	n, _ := slices.BinarySearch(ends, size+1)
	return n - 1
}

func TestTornAtEveryByte(t *testing.T) {
	files, ends := fourBatches(t)
	data := files[firstLog]
	for size := range len(data) {
		for _, rest := range []string{"", "\x00", strings.Repeat("\x00", 100), strings.Repeat("\xff", 100)} {
			torn := append(slices.Clone(data[:size]), rest...)
			same := 0 // bytes of the log that are there: the rest may begin as it went on
			for same < len(torn) && same < len(data) && torn[same] == data[same] {
				same++
			}
			want := int64(2 * wholeBatches(ends, int64(same)))
			if same == len(data) {
				continue
			}

			l := mustOpen(t, testConfig(files.with(firstLog, torn).with(markFile, nil).write(t)))
			if l.End() != want {
				t.Fatalf("cut at %d with %q: end %d, want %d", size, rest, l.End(), want)
			}
			if got := readValues(t, l, 0, want, 1<<20); int64(len(got)) != want {
				t.Fatalf("cut at %d: %d records, want %d", size, len(got), want)
			}
			if len(l.Damage()) != 0 {
				t.Fatalf("cut at %d: damage %v", size, l.Damage())
			}
			// The next append must not meet what was cut.
			mustAppend(t, l, source{}, "after")
			cfg := l.cfg
			closeQuietly(l)
			if l = mustOpen(t, cfg); l.End() != want+1 {
				t.Fatalf("cut at %d: end %d after one more append, want %d", size, l.End(), want+1)
			}

			// The same bytes, known to have been durable, are damage.
			fs := files.with(firstLog, torn).write(t)
			if _, err := Open(testConfig(fs)); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut at %d below the mark: %v, want ErrCorrupt", size, err)
			}
			if got := readImage(t, fs)[firstLog]; !slices.Equal(got, torn) {
				t.Fatalf("cut at %d: damaged file was changed", size)
			}
		}
	}
}

func TestFlipOfEveryByte(t *testing.T) {
	files, ends := fourBatches(t)
	for at := range files[firstLog] {
		for _, bit := range []byte{0x01, 0x80} {
			data := slices.Clone(files[firstLog])
			data[at] ^= bit
			batch := wholeBatches(ends, int64(at))

			fs := files.with(firstLog, data).write(t)
			_, err := Open(testConfig(fs))
			var damage *DamageError
			if !errors.As(err, &damage) || damage.Position != ends[batch] || damage.Offset != int64(2*batch) {
				t.Fatalf("bit %02x of byte %d below the mark: %v, want damage at byte %d", bit, at, err, ends[batch])
			}
			if got := readImage(t, fs)[firstLog]; !slices.Equal(got, data) {
				t.Fatalf("byte %d: damaged file was changed", at)
			}

			// Nothing says that it was durable: cut, but kept aside if batches
			// follow that a lying disk may have had.
			fs = files.with(firstLog, data).with(markFile, nil).write(t)
			l := mustOpen(t, testConfig(fs))
			if l.End() != int64(2*batch) {
				t.Fatalf("byte %d: end %d, want %d", at, l.End(), 2*batch)
			}
			kept, ok := readImage(t, fs)[fmt.Sprintf("%s.torn-%d", firstLog, ends[batch])]
			if follows := batch < 3; ok != follows || (ok && !slices.Equal(kept, data)) || (len(l.Damage()) == 1) != follows {
				t.Fatalf("byte %d: kept aside %t, damage %v", at, ok, l.Damage())
			}
		}
	}
}

func TestDamageOfSealedSegments(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	for i := range 100 {
		mustAppend(t, l, source{}, fmt.Sprint("value ", i))
	}
	second := (*l.segments.Load())[1].base
	files := readImage(t, fs)
	sealed := files[logName(second)]
	flipped := slices.Clone(sealed)
	flipped[16] = 7 // the magic byte of the first batch
	noCheckpoint := files.with(checkpointFile, nil)
	for name, c := range map[string]image{
		"flipped":                       noCheckpoint.with(logName(second), flipped),
		"shorter":                       files.with(logName(second), sealed[:len(sealed)-1]),
		"shorter, without a checkpoint": noCheckpoint.with(logName(second), sealed[:len(sealed)-1]),
		"missing":                       files.with(logName(second), nil),
		"missing, without a checkpoint": noCheckpoint.with(logName(second), nil),
		"first missing":                 files.with(firstLog, nil),
		"all but indexes missing":       {markFile: files[markFile], indexName(0): files[indexName(0)]},
	} {
		fs := c.write(t)
		before := readImage(t, fs)
		if _, err := Open(testConfig(fs)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
		after := readImage(t, fs)
		for n := range before {
			if !slices.Equal(before[n], after[n]) {
				t.Errorf("%s: %s was changed", name, n)
			}
		}
	}

	// Damage that no start reads is met by the reader, who is told.
	fs = files.with(logName(second), flipped).write(t)
	l = mustOpen(t, testConfig(fs))
	if _, err := l.Read(second, l.End(), 100, true, nil); !errors.Is(err, ErrCorrupt) || len(l.Damage()) != 1 {
		t.Errorf("Read of a flipped batch: %v, damage %v", err, l.Damage())
	}
	if got := readValues(t, l, 0, second, 100); int64(len(got)) != second {
		t.Errorf("%d records before the damage, want %d", len(got), second)
	}
	if _, _, _, err := l.OffsetForTime(1000 + second); !errors.Is(err, ErrCorrupt) {
		t.Errorf("OffsetForTime over a flipped batch: %v", err)
	}
}

func TestWrongDerivedFiles(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	for i := range 100 {
		mustAppend(t, l, source{id: 4, sequence: int32(i)}, fmt.Sprint("value ", i))
	}
	closedEnd := l.End()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files := readImage(t, fs)
	for name := range files {
		if strings.HasSuffix(name, logSuffix) {
			continue
		}
		n := len(files[name])
		for how, data := range map[string][]byte{
			"missing": nil, "empty": {}, "zeroed": make([]byte, n), "zeroed to 10 MiB": make([]byte, 10<<20),
			"garbage": []byte(strings.Repeat("\x7f\x13", n/2+1)), "shorter": files[name][:n/2],
			"other": files[firstLog],
		} {
			for _, cleanly := range []bool{true, false} {
				cfg := testConfig(files.with(name, data).write(t))
				cfg.Cleanly = cleanly
				l, err := Open(cfg)
				if err != nil {
					t.Fatalf("%s %s: %v", name, how, err)
				}
				if l.End() != closedEnd {
					t.Fatalf("%s %s: end %d, want %d", name, how, l.End(), closedEnd)
				}
				for offset := closedEnd - 1; offset >= 0; offset-- {
					got := readValues(t, l, offset, offset+1, 1)
					if len(got) != 1 || got[0] != (offsetValue{offset, fmt.Sprint("value ", offset)}) {
						t.Fatalf("%s %s: offset %d: %v", name, how, offset, got)
					}
					if at, ts, ok, err := l.OffsetForTime(1000 + offset); at != offset || ts != 1000+offset || !ok || err != nil {
						t.Fatalf("%s %s: time of offset %d: %d %d %t %v", name, how, offset, at, ts, ok, err)
					}
				}
				checkState(t, l)
			}
		}
	}
}

// A wrong index whose sum is right, as a fault of ours would write it.
func TestWrongIndexInMemory(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMem()))
	for i := range 20 {
		mustAppend(t, l, source{}, fmt.Sprint("value ", i))
	}
	seg := l.active()
	if len(seg.index.offsets) < 2 {
		t.Fatal("the index has no entries; the test tests nothing")
	}
	for i := range seg.index.offsets {
		seg.index.offsets[i].position += 3
	}
	for offset := l.End() - 1; offset >= 0; offset-- { // backwards: no hint helps
		if got := readValues(t, l, offset, offset+1, 1); got[0].value != fmt.Sprint("value ", offset) {
			t.Fatalf("offset %d: %v", offset, got)
		}
	}
}

// A clean start reads the end of the log only.
func TestCleanStartReadsLittle(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	cfg.SegmentBytes = 1 << 20
	l := mustOpen(t, cfg)
	for range 5000 {
		mustAppend(t, l, source{}, strings.Repeat("x", 500))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	size := l.SizeBytes()
	for _, c := range []struct {
		cleanly bool
		most    int64
	}{{true, 100 << 10}, {false, 100 << 10}} {
		counted := &readCounter{FS: fs}
		cfg.FS, cfg.Cleanly = counted, c.cleanly
		l = mustOpen(t, cfg)
		if counted.bytes > c.most {
			t.Errorf("cleanly %t: %d bytes of %d read, want at most %d", c.cleanly, counted.bytes, size, c.most)
		}
	}
	// Killed, it reads the last segment.
	for range 100 {
		mustAppend(t, l, source{}, strings.Repeat("x", 500))
	}
	counted := &readCounter{FS: fs}
	cfg.FS = counted
	mustOpen(t, cfg)
	if counted.bytes > cfg.SegmentBytes+200<<10 {
		t.Errorf("killed: %d bytes of %d read", counted.bytes, size)
	}
}

// readCounter counts the bytes read from .log files.
type readCounter struct {
	vfs.FS
	bytes int64
	reads int
}

func (c *readCounter) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return c.wrap(name)(c.FS.Open(name, opts...))
}

func (c *readCounter) OpenReadWrite(name string, cat vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return c.wrap(name)(c.FS.OpenReadWrite(name, cat, opts...))
}

func (c *readCounter) wrap(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil || !strings.HasSuffix(name, logSuffix) {
			return f, err
		}
		return &countedFile{f, c}, nil
	}
}

type countedFile struct {
	vfs.File
	c *readCounter
}

func (f *countedFile) ReadAt(p []byte, at int64) (int, error) {
	f.c.bytes += int64(len(p))
	f.c.reads++
	return f.File.ReadAt(p, at)
}

// Reading on costs one pread a call; a jump costs a few.
func TestReadsPerCall(t *testing.T) {
	fs := &readCounter{FS: vfs.NewMem()}
	cfg := testConfig(fs)
	cfg.SegmentBytes = 1 << 20
	l := mustOpen(t, cfg)
	for i := range 300 {
		mustAppend(t, l, source{}, fmt.Sprint(i), "and more")
	}
	batch := int(l.SizeBytes() / 300)
	fs.reads, fs.bytes = 0, 0
	var dst []byte
	calls := 0
	for next := int64(0); next < l.End(); calls++ {
		var err error
		if dst, err = l.Read(next, l.End(), 3*batch+batch/2, true, dst[:0]); err != nil {
			t.Fatal(err)
		}
		values := splitValues(t, dst)
		next = values[len(values)-1].offset + 1
	}
	if fs.reads != calls || calls > 110 {
		t.Errorf("%d preads for %d calls that read on", fs.reads, calls)
	}
	if most := l.SizeBytes() * 5 / 4; fs.bytes > most {
		t.Errorf("%d bytes read of a log of %d", fs.bytes, l.SizeBytes())
	}
	fs.reads, calls = 0, 0
	for next := l.End() - 1; next >= 0; next -= 37 {
		if _, err := l.Read(next, l.End(), 100, true, nil); err != nil {
			t.Fatal(err)
		}
		calls++
	}
	if fs.reads > 3*calls {
		t.Errorf("%d preads for %d jumps", fs.reads, calls)
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	files, _ := fourBatches(t)
	name := firstLog + cutSuffix
	fs := files.with(name, []byte("half a copy")).write(t)
	mustOpen(t, testConfig(fs))
	if _, ok := readImage(t, fs)[name]; ok {
		t.Errorf("%s is still there", name)
	}
}

// After a power loss at most what came after the last roll is read.
func TestPowerLossReadsTheLastSegment(t *testing.T) {
	fs := crashableDir(t)
	cfg := testConfig(fs)
	cfg.SegmentBytes = 20_000
	l := mustOpen(t, cfg)
	for len(*l.segments.Load()) < 6 {
		mustAppend(t, l, source{id: 1, sequence: int32(l.End())}, strings.Repeat("x", 500))
	}
	end := l.End()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	counted := &readCounter{FS: fs.CrashClone(vfs.CrashCloneCfg{})}
	cfg.FS = counted
	l = mustOpen(t, cfg)
	if l.End() != end || counted.bytes > cfg.SegmentBytes {
		t.Errorf("end %d, want %d; %d bytes read, want at most one segment", l.End(), end, counted.bytes)
	}
}

// What a failed append left is zeros; a segment that was sealed over them is
// whole.
func TestZerosAfterSealedBatches(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	for i := range 100 {
		mustAppend(t, l, source{}, fmt.Sprint("value ", i))
	}
	files := readImage(t, fs).with(checkpointFile, nil)
	padded := append(slices.Clone(files[firstLog]), make([]byte, 300)...)
	l = mustOpen(t, testConfig(files.with(firstLog, padded).write(t)))
	if got := readValues(t, l, 0, l.End(), 500); len(got) != 100 {
		t.Fatalf("%d records, want 100", len(got))
	}
	padded[len(padded)-1] = 1
	if _, err := Open(testConfig(files.with(firstLog, padded).write(t))); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("other bytes after sealed batches: %v, want ErrCorrupt", err)
	}
}

// A byte of a file beside the records that was changed never changes what is read:
// either the log says that it is damaged, or it reads, finds and continues as before.
func TestFlipOfEveryByteBesideTheRecords(t *testing.T) {
	fs := sealedLog(t)
	config := func(files image) Config {
		cfg := testConfig(files.write(t))
		cfg.LeaderEpoch = 2
		return cfg
	}
	before := mustOpen(t, config(readImage(t, fs)))
	want := readValues(t, before, before.Start(), before.End(), 500)
	files := readImage(t, fs)
	for name, whole := range files {
		if strings.HasSuffix(name, logSuffix) {
			continue // TestFlipOfEveryByte
		}
		for i := range whole {
			changed := slices.Clone(whole)
			changed[i] ^= 0x41
			for _, cleanly := range []bool{true, false} {
				cfg := config(files.with(name, changed))
				cfg.Cleanly = cleanly
				l, err := Open(cfg)
				if errors.Is(err, ErrCorrupt) {
					continue
				}
				if err != nil {
					t.Fatalf("%s: byte %d: %v", name, i, err)
				}
				if got := readValues(t, l, l.Start(), l.End(), 500); !slices.Equal(got, want) {
					t.Fatalf("%s: byte %d: %d records, want %d", name, i, len(got), len(want))
				}
				for n, v := range want {
					got := readValues(t, l, v.offset, l.End(), 1)
					if left := len(want) - n; len(got) < left || !slices.Equal(got[len(got)-left:], want[n:]) {
						t.Fatalf("%s: byte %d: from offset %d: %v", name, i, v.offset, got)
					}
				}
				checkState(t, l)
			}
		}
	}
}

// TestTornAmongHeaders: records may hold what looks like headers of batches, each of
// which reaches to the end of the file. A start after a torn write does not compute the
// checksums of all: it keeps the file as it was, for there may be one.
func TestTornAmongHeaders(t *testing.T) {
	whole, ends := fourBatches(t)
	torn := slices.Clone(whole[firstLog][:ends[4]])
	torn = append(torn, torn[ends[3]:ends[3]+recordbatch.HeaderSize]...) // a header without its records
	const fakes = 64 << 10
	for i := range fakes {
		fake := make(recordbatch.Batch, recordbatch.HeaderSize)
		fake.SetBaseOffset(int64(8 + i%1000))
		binary.BigEndian.PutUint32(fake[8:], uint32((fakes-i)*recordbatch.HeaderSize-recordbatch.LogOverhead))
		fake[16] = recordbatch.Magic
		binary.BigEndian.PutUint32(fake[57:], 1)
		torn = append(torn, fake...)
	}
	binary.BigEndian.PutUint32(torn[ends[4]+8:], uint32(len(torn)))
	fs := whole.with(firstLog, torn).write(t)
	l := mustOpen(t, testConfig(fs))
	if l.End() != 8 {
		t.Errorf("the log ends at %d", l.End())
	}
	names, err := fs.List(testDir)
	if err != nil || !slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, ".torn-") }) {
		t.Errorf("%q, %v: the file as it was is not kept", names, err)
	}
}
