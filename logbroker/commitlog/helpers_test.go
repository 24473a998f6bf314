package commitlog

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/levada/levada/internal/recordbatch"
)

const testDir = "/log"

func testConfig(fs vfs.FS) Config {
	return Config{
		FS: fs, Dir: testDir, SegmentBytes: 2000, IndexIntervalBytes: 200,
		Now: func() time.Time { return time.UnixMilli(1_700_000_000_000) },
	}
}

// crashableDir is a file system that has the directory of a log: to make that
// durable is the caller's part.
func crashableDir(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	if err := fs.MkdirAll(testDir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := fs.OpenDir("/")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(root.Sync(), root.Close()); err != nil {
		t.Fatal(err)
	}
	return fs
}

// noRoom is a file system that, while full, refuses to write files of a name, or only
// calls of these kinds.
func noRoom(fs vfs.FS, name string, full *bool, kinds ...errorfs.OpKind) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		refused := op.Kind.ReadOrWrite() == errorfs.OpIsWrite && len(kinds) == 0 || slices.Contains(kinds, op.Kind)
		if *full && refused && strings.Contains(op.Path, name) {
			return syscall.ENOSPC
		}
		return nil
	}))
}

func mustOpen(t testing.TB, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatalf("Open(%s): %v", cfg.Dir, err)
	}
	return l
}

// source describes who a batch is from; the zero source is no producer.
type source struct {
	id            int64
	epoch         int16
	sequence      int32
	transactional bool
}

// makeBatch encodes records with these values at timestamps ms, ms+1, ….
func makeBatch(from source, ms int64, values ...string) recordbatch.Batch {
	var b recordbatch.Builder
	for i, v := range values {
		b.Append(ms+int64(i), nil, []byte(v), nil)
	}
	batch := b.Batch()
	if from != (source{}) {
		batch.SetProducer(from.id, from.epoch, from.sequence, from.transactional)
	}
	batch.SetCRC()
	return batch
}

func mustAppend(t testing.TB, l *Log, from source, values ...string) AppendResult {
	t.Helper()
	res, err := l.Append(makeBatch(from, 1000+l.End(), values...), nil)
	if err != nil {
		t.Fatalf("Append(%+v, %q): %v", from, values, err)
	}
	return res
}

type offsetValue struct {
	offset int64
	value  string
}

// readValues reads the data records of [from, end) in small chunks, and fails
// on a bad CRC or an offset that does not follow.
func readValues(t testing.TB, l *Log, from, end int64, maxBytes int) []offsetValue {
	t.Helper()
	var out []offsetValue
	for next := from; next < end; {
		chunk, err := l.Read(next, end, maxBytes, true, nil)
		if err != nil {
			t.Fatalf("Read(%d): %v", next, err)
		}
		if len(chunk) == 0 {
			t.Fatalf("Read(%d) gave nothing below %d", next, end)
		}
		for len(chunk) > 0 {
			var b recordbatch.Batch
			if b, chunk, err = recordbatch.Split(chunk); err == nil {
				err = b.Validate()
			}
			if err != nil {
				t.Fatalf("Read(%d): %v", next, err)
			}
			if b.BaseOffset() > next || b.NextOffset() <= next {
				t.Fatalf("Read(%d): batch of %d to %d", next, b.BaseOffset(), b.LastOffset())
			}
			next = b.NextOffset()
			out = append(out, batchValues(t, b)...)
		}
	}
	return out
}

// splitValues reads the data records of whole batches.
func splitValues(t testing.TB, chunk []byte) []offsetValue {
	t.Helper()
	var out []offsetValue
	for len(chunk) > 0 {
		b, rest, err := recordbatch.Split(chunk)
		if err != nil {
			t.Fatal(err)
		}
		out, chunk = append(out, batchValues(t, b)...), rest
	}
	return out
}

func batchValues(t testing.TB, b recordbatch.Batch) []offsetValue {
	t.Helper()
	if b.IsControl() {
		return nil
	}
	var out []offsetValue
	var r recordbatch.Reader
	if err := r.Reset(b); err != nil {
		t.Fatal(err)
	}
	var rec recordbatch.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return out
		}
		out = append(out, offsetValue{rec.Offset, string(rec.Value)})
	}
}

func testRNG() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// checkpointNow makes a checkpoint durable.
func checkpointNow(t testing.TB, l *Log) {
	t.Helper()
	c, err := l.BeginCheckpoint(1)
	if err == nil {
		err = c.Sync()
	}
	if err == nil {
		err = c.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
}
