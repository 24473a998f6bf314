package commitlog

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/levada/levada/internal/recordbatch"
)

// inspect looks at the log of a file system and returns what it finds.
func inspect(t *testing.T, fs vfs.FS) (Summary, []Fault) {
	t.Helper()
	var faults []Fault
	sum, err := Inspector{FS: fs, Dir: testDir, Fault: func(f Fault) { faults = append(faults, f) }}.Inspect()
	if err != nil {
		t.Fatal(err)
	}
	return sum, faults
}

// sealedLog writes a log of several leader epochs and segments, sealed but for the
// last, with indexes, a checkpoint and snapshots.
func sealedLog(t *testing.T) *vfs.MemFS {
	t.Helper()
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 500, 50
	for epoch := range int32(3) {
		cfg.LeaderEpoch = epoch
		l := mustOpen(t, cfg)
		for range 3 {
			mustAppend(t, l, source{}, "some value", "another")
			mustAppend(t, l, source{id: 7, epoch: 0, sequence: 0, transactional: true}, "of a transaction")
			if _, _, err := l.AppendMarker(Marker{ProducerID: 7, Epoch: 0, Commit: true, CoordinatorEpoch: epoch}); err != nil {
				t.Fatal(err)
			}
			cfg.LeaderEpoch = epoch
		}
		for more := true; more; {
			var err error
			if more, err = l.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(l.Sync(), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return cfg.FS.(*vfs.MemFS)
}

func fileBytes(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestInspectFindsEveryFlippedByte: a log that is whole has no fault; with any byte
// of any of its files changed it has one, and it is not changed by the look.
func TestInspectFindsEveryFlippedByte(t *testing.T) {
	fs := sealedLog(t)
	batches := 0
	sum, err := Inspector{FS: fs, Dir: testDir, Fault: func(f Fault) { t.Errorf("of a whole log: %s", f) }, Batch: func(string, int64, recordbatch.Batch) error {
		batches++
		return nil
	}}.Inspect()
	if err != nil {
		t.Fatal(err)
	}
	if sum.Segments < 3 || sum.Sealed < 2 || sum.Batches != int64(batches) || sum.End == 0 {
		t.Fatalf("summary %+v, %d batches", sum, batches)
	}
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, name := range names {
		path := fs.PathJoin(testDir, name)
		whole := fileBytes(t, fs, path)
		kinds[name[strings.LastIndexAny(name, ".-")+1:]]++
		for i := range whole {
			f, err := fs.OpenReadWrite(path, writeCategory)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{whole[i] ^ 0x41}, int64(i)); err != nil {
				t.Fatal(err)
			}
			_, faults := inspect(t, fs)
			if len(faults) == 0 {
				t.Errorf("%s: byte %d changed, and nothing found", name, i)
			}
			if strings.HasSuffix(name, logSuffix) {
				damaged := false
				for _, fault := range faults {
					damaged = damaged || !fault.Derived
				}
				if !damaged {
					t.Errorf("%s: byte %d changed, and no records are called damaged: %v", name, i, faults)
				}
			}
			if _, err := f.WriteAt(whole[i:i+1], int64(i)); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, kind := range []string{"log", "index", "timeindex", "seal", "checkpoint", "synced"} {
		if kinds[kind] == 0 {
			t.Errorf("the log has no file of kind %s: %v", kind, kinds)
		}
	}
	if _, faults := inspect(t, fs); len(faults) > 0 {
		t.Errorf("the log was changed: %v", faults)
	}
}

// TestInspectTorn: what is cut off a sealed segment is damage, what is cut off the
// last one where nothing was on disk yet is not.
func TestInspectTorn(t *testing.T) {
	fs := sealedLog(t)
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	var logs []string
	for _, n := range names {
		if strings.HasSuffix(n, logSuffix) {
			logs = append(logs, fs.PathJoin(testDir, n))
		}
	}
	slices.Sort(logs)
	damaged := func(faults []Fault) bool {
		return slices.ContainsFunc(faults, func(f Fault) bool { return !f.Derived })
	}
	cut := func(path string, n int) {
		whole := fileBytes(t, fs, path)
		f, err := fs.Create(path, writeCategory)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(whole[:n])
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	last := logs[len(logs)-1]
	cut(last, len(fileBytes(t, fs, last))-1)
	if _, faults := inspect(t, fs); !damaged(faults) {
		t.Errorf("cut below what was on disk: %v", faults)
	}
	if err := errors.Join(fs.Remove(fs.PathJoin(testDir, markFile)), fs.Remove(fs.PathJoin(testDir, checkpointFile))); err != nil {
		t.Fatal(err)
	}
	if _, faults := inspect(t, fs); len(faults) == 0 || damaged(faults) {
		t.Errorf("a torn tail: %v", faults)
	}
	if err := fs.Remove(logs[1]); err != nil {
		t.Fatal(err)
	}
	if _, faults := inspect(t, fs); !damaged(faults) {
		t.Errorf("a segment that is missing: %v", faults)
	}
}

// TestInspectBelievesNoDamagedBatch: the end of a log does not come from the bytes of a
// batch that is damaged, and what is whole after it is no fault.
func TestInspectBelievesNoDamagedBatch(t *testing.T) {
	for name, c := range map[string]struct {
		batch  int // which of the three
		at     int // in it
		bytes  []byte
		end    int64
		faults int
	}{
		"whole":                       {0, 0, nil, 6, 0},
		"base offset of the last":     {2, 0, []byte("X"), 4, 1},
		"base offset of the first":    {0, 0, []byte("X"), 6, 1},
		"base offset of the second":   {1, 0, []byte("X"), 6, 1},
		"last offset delta, last":     {2, 23, []byte("X"), 4, 1},
		"last offset delta, second":   {1, 23, []byte("X"), 6, 1},
		"leader epoch of the last":    {2, 12, []byte("X"), 6, 1},
		"leader epoch of the second":  {1, 12, []byte("X"), 6, 1},
		"leader epoch, one too high":  {2, 12, []byte{0, 0, 0, 8}, 6, 1},
		"leader epoch, lower":         {2, 12, []byte{0, 0, 0, 6}, 6, 1},
		"number of records, the last": {2, 57, []byte("XXXX"), 4, 1},
	} {
		cfg := testConfig(vfs.NewMem())
		cfg.LeaderEpoch = 7
		l := mustOpen(t, cfg)
		for range 3 {
			mustAppend(t, l, source{}, "one", "two")
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		path := cfg.FS.PathJoin(testDir, logName(0))
		f, err := cfg.FS.OpenReadWrite(path, writeCategory)
		if err != nil {
			t.Fatal(err)
		}
		third := len(fileBytes(t, cfg.FS, path)) / 3
		_, err = f.WriteAt(c.bytes, int64(c.batch*third+c.at))
		if err := errors.Join(err, f.Close(), cfg.FS.RemoveAll(cfg.FS.PathJoin(testDir, markFile))); err != nil {
			t.Fatal(err)
		}
		var faults []Fault
		sum, err := Inspector{FS: cfg.FS, Dir: testDir, MaxEpoch: 7, Fault: func(f Fault) {
			if !f.Derived {
				faults = append(faults, f)
			}
		}}.Inspect()
		records := int64(4)
		if c.faults == 0 || c.at == 12 { // the records are whole, with a wrong epoch
			records = 6
		}
		if err != nil || sum.End != c.end || sum.Records != records || sum.Batches != 3 || len(faults) != c.faults {
			t.Errorf("%s: %+v, %v, %v", name, sum, faults, err)
		}
	}
}

// TestInspectAfterCompaction: where the batches that began a leader epoch were compacted
// away nothing is wrong with those that follow.
func TestInspectAfterCompaction(t *testing.T) {
	cfg := testConfig(vfs.NewMem())
	cfg.SegmentBytes = 500
	for epoch := range int32(3) {
		cfg.LeaderEpoch = epoch
		l := mustOpen(t, cfg)
		for range 9 {
			putKeyed(t, l, "a", "value")
		}
		if _, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	sum, faults := inspect(t, cfg.FS)
	if sum.Start != 0 || sum.End != 27 || sum.Records > 9 {
		t.Errorf("%+v: not every epoch lost its first batch", sum)
	}
	if len(faults) > 0 {
		t.Error(faults)
	}
}

// hookFS calls a function before a file is opened.
type hookFS struct {
	vfs.FS
	before func(name string)
}

func (f *hookFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f.before(name)
	return f.FS.Open(name, opts...)
}

// TestInspectBesideRetention: a segment that is removed while it is looked at, or just
// before, with what belongs to it, is no fault and no end of the look.
func TestInspectBesideRetention(t *testing.T) {
	for _, suffix := range []string{logSuffix, sealSuffix} {
		for upTo := 1; ; upTo++ {
			fs := sealedLog(t)
			d := &directory{fs: fs, path: testDir}
			have, err := d.list()
			if err != nil {
				t.Fatal(err)
			}
			if upTo == len(have.segments) {
				break
			}
			trigger, done := fs.PathJoin(testDir, offsetName(have.segments[upTo-1], suffix)), false
			hook := &hookFS{FS: fs, before: func(name string) {
				if name != trigger || done {
					return
				}
				done = true
				// What is read of it from here on makes no sense any more.
				f, err := fs.OpenReadWrite(fs.PathJoin(testDir, logName(have.segments[upTo-1])), writeCategory)
				if err == nil {
					_, err = f.WriteAt([]byte("XXXX"), 30)
					err = errors.Join(err, f.Close())
				}
				if err != nil {
					t.Error(err)
				}
				for _, base := range have.segments[:upTo] {
					if err := d.removeSegment(base); err != nil {
						t.Error(err)
					}
				}
			}}
			sum, err := Inspector{FS: hook, Dir: testDir, Fault: func(f Fault) { t.Errorf("%s %d: %s", suffix, upTo, f) }}.Inspect()
			whole, _ := inspect(t, sealedLog(t))
			if err != nil || !done || sum.Start != have.segments[upTo] || sum.End != whole.End {
				t.Errorf("%s %d: %+v, %v, removed: %v", suffix, upTo, sum, err, done)
			}
		}
	}
}

// TestInspectWhatCouldNotBeRemoved: the next start removes it, and nothing is wrong with it.
func TestInspectWhatCouldNotBeRemoved(t *testing.T) {
	fs, failing := vfs.NewMem(), false
	l := keyedLog(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if failing && op.Kind == errorfs.OpRemove && strings.HasSuffix(op.Path, logSuffix) {
			return errDied
		}
		return nil
	})))
	compactKeys(t, l)
	failing = true
	if err := l.DeleteTo(l.active().base); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	if _, faults := inspect(t, fs); len(faults) > 0 {
		t.Error(faults)
	}
}

// whatABrokerDoes is what changes the files of a log.
var whatABrokerDoes = map[string]func(*testing.T, *Log){
	"appends": func(t *testing.T, l *Log) {
		for len(*l.segments.Load()) < 12 {
			manyCheckpoints(t, l, 1)
		}
	},
	"compaction": func(t *testing.T, l *Log) { compactKeys(t, l) },
	"compaction into one": func(t *testing.T, l *Log) {
		l.SetSegmentLimits(1<<20, 0)
		compactKeys(t, l)
	},
}

func compactKeys(t *testing.T, l *Log) {
	t.Helper()
	if stats, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil || stats.Records == 0 {
		t.Errorf("%+v, %v", stats, err)
	}
}

// keyedLog writes a log of several segments with few keys.
func keyedLog(t *testing.T, fs vfs.FS) *Log {
	t.Helper()
	cfg := testConfig(fs)
	cfg.SegmentBytes, cfg.IndexIntervalBytes = 500, 50
	l := mustOpen(t, cfg)
	for i := range 20 {
		putKeyed(t, l, fmt.Sprint(i%2), "value")
	}
	for more := true; more; {
		var err error
		if more, err = l.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestInspectBesideABroker: whatever a broker does between any two calls of the file
// system of a look, nothing is wrong with its log, and no batch is shown twice.
func TestInspectBesideABroker(t *testing.T) {
	for name, does := range whatABrokerDoes {
		for at, reached := 0, true; reached; at++ {
			fs := vfs.NewMem()
			l := keyedLog(t, fs)
			calls, shown := 0, int64(-1)
			reached = false
			_, err := Inspector{
				FS: errorfs.Wrap(fs, errorfs.InjectorFunc(func(errorfs.Op) error {
					if calls++; calls == at+1 {
						reached = true
						does(t, l)
					}
					return nil
				})),
				Dir:   testDir,
				Fault: func(f Fault) { t.Errorf("%s before call %d: %s", name, at, f) },
				Batch: func(_ string, _ int64, b recordbatch.Batch) error {
					if b.BaseOffset() <= shown {
						t.Errorf("%s before call %d: offset %d comes after %d", name, at, b.BaseOffset(), shown)
					}
					shown = b.BaseOffset()
					return nil
				},
			}.Inspect()
			if err != nil {
				t.Errorf("%s before call %d: %v", name, at, err)
			}
			closeQuietly(l)
		}
	}
}

// TestInspectInsideABroker: between any two calls of the file system of a broker nothing
// is wrong with the records, or it is said that files are being replaced.
func TestInspectInsideABroker(t *testing.T) {
	for name, does := range whatABrokerDoes {
		fs := vfs.NewMem()
		begun, calls, looked := false, 0, 0
		l := keyedLog(t, errorfs.Wrap(fs, errorfs.InjectorFunc(func(errorfs.Op) error {
			if !begun {
				return nil
			}
			calls++
			_, err := Inspector{FS: fs, Dir: testDir, Fault: func(f Fault) {
				if !f.Derived || strings.Contains(f.What, "is not there") {
					t.Errorf("%s, call %d: %s", name, calls, f)
				}
			}}.Inspect()
			_, replacing := fs.Stat(fs.PathJoin(testDir, swapFile))
			if err == nil {
				looked++
			} else if replacing != nil {
				t.Errorf("%s, call %d: %v", name, calls, err)
			}
			return nil
		})))
		begun = true
		does(t, l)
		if looked < 10 {
			t.Errorf("%s: %d of %d calls were looked at", name, looked, calls)
		}
		begun = false
		closeQuietly(l)
	}
}

// TestInspectKnowsWhatWasDeleted: a power loss took only some of the removals of deleted
// segments. What came back is no damage, whether the database or only the checkpoint tells
// where the log starts; a segment above that which is missing is.
func TestInspectKnowsWhatWasDeleted(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	cfg.SegmentBytes = 1
	l := mustOpen(t, cfg)
	for range 6 {
		mustAppend(t, l, source{id: 7, sequence: int32(l.End())}, "value")
	}
	before := readImage(t, fs)
	if err := errors.Join(l.DeleteTo(4), l.Close()); err != nil {
		t.Fatal(err)
	}
	after := readImage(t, fs)
	for base := range int64(4) {
		after[logName(base)] = before[logName(base)]
	}
	for _, gone := range []int64{-1, 0, 1, 2, 3} { // the others came back
		for name, files := range map[string]image{"as before": before, "as after": after, "none": before.with(checkpointFile, nil)} {
			if gone >= 0 {
				files = files.with(logName(gone), nil)
			}
			start := int64(4)
			if name == "as after" {
				start = 0
			}
			look := Inspector{FS: files.write(t), Dir: testDir, LogStart: start, Fault: func(f Fault) { t.Errorf("checkpoint %s, %d is gone: %s", name, gone, f) }}
			if sum, err := look.Inspect(); err != nil || sum.Start != 4 || sum.End != 6 {
				t.Errorf("checkpoint %s, %d is gone: %+v, %v", name, gone, sum, err)
			}
			damaged := false
			look.FS = files.with(logName(4), nil).write(t)
			look.Fault = func(f Fault) { damaged = damaged || !f.Derived }
			if _, err := look.Inspect(); err != nil || !damaged {
				t.Errorf("checkpoint %s: the first of the log is missing: %t, %v", name, damaged, err)
			}
		}
	}
}

// TestInspectAfterAPowerLoss: what is left of the last batches, which were not durable, in
// whatever place a part of them is missing, is cut off at the next start, and no damage.
func TestInspectAfterAPowerLoss(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	mustAppend(t, l, source{}, "durable")
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	durable := int(l.SizeBytes())
	for range 2 {
		mustAppend(t, l, source{}, "not durable")
	}
	files := readImage(t, fs)
	for from := durable; from < len(files[firstLog]); from += 3 {
		for _, size := range []int{8, 20, 1 << 20} {
			data := slices.Clone(files[firstLog])
			clear(data[from:min(from+size, len(data))])
			_, err := Inspector{FS: files.with(firstLog, data).write(t), Dir: testDir, Fault: func(f Fault) {
				if !f.Derived || strings.Contains(f.What, "is not there") {
					t.Errorf("%d zeros at %d: %s", size, from, f)
				}
			}}.Inspect()
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// TestInspectWhileACompactionIsFinished: files that are being replaced do not fit each other,
// which is no damage, and is told apart from what keeps them from being read.
func TestInspectWhileACompactionIsFinished(t *testing.T) {
	fs := sealedLog(t)
	d := &directory{fs, testDir}
	s, ok, err := d.readSeal(0)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if err := d.replaceFile(swapFile, swap{seal: s}.encode()); err != nil {
		t.Fatal(err)
	}
	look := func() error {
		_, err := Inspector{FS: fs, Dir: testDir, Fault: func(f Fault) { t.Error(f) }}.Inspect()
		return err
	}
	if err := look(); !errors.Is(err, ErrSwapping) {
		t.Error(err)
	}
	if err := d.forgetSwap(); err != nil {
		t.Fatal(err)
	}
	if err := look(); err != nil {
		t.Error(err)
	}
}

// TestInspectTellsOfWhatFollowsASeal: bytes behind the end of a sealed segment belong to no
// record, but somebody has put them there.
func TestInspectTellsOfWhatFollowsASeal(t *testing.T) {
	fs := sealedLog(t)
	d := &directory{fs, testDir}
	whole := fileBytes(t, fs, d.join(firstLog))
	if err := d.writeFile(firstLog, append(whole, make([]byte, 100)...), false); err != nil {
		t.Fatal(err)
	}
	_, faults := inspect(t, fs)
	if len(faults) != 1 || !faults[0].Derived || faults[0].Position != int64(len(whole)) || !strings.Contains(faults[0].What, "100 bytes follow its end") {
		t.Errorf("%v", faults)
	}
}
