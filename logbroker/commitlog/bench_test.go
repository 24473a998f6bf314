package commitlog

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

const benchRecords = 1000

// benchBatch is about 100 KiB of records of 100 B.
func benchBatch() recordbatch.Batch {
	var b recordbatch.Builder
	key, value := make([]byte, 16), make([]byte, 84)
	for i := range benchRecords {
		b.Append(1_700_000_000_000+int64(i), key, value, nil)
	}
	batch := b.Batch()
	batch.SetProducer(1, 0, 0, false)
	batch.SetCRC()
	return batch
}

func benchLog(b *testing.B) *Log {
	b.Helper()
	l, err := Open(Config{FS: vfs.Default, Dir: b.TempDir(), SegmentBytes: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { closeQuietly(l) })
	return l
}

// appendNext appends a batch under the next sequence. The CRC is left as it
// is: nobody reads it here.
func appendNext(b *testing.B, l *Log, batch recordbatch.Batch) {
	if _, err := l.Append(batch, nil); err != nil {
		b.Fatal(err)
	}
	batch.SetProducer(1, 0, recordbatch.AddSequence(batch.BaseSequence(), benchRecords), false)
}

// BenchmarkAppend appends 100 KiB to the page cache.
func BenchmarkAppend(b *testing.B) {
	l, batch := benchLog(b), benchBatch()
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if l.SizeBytes() > 512<<20 { // of disk, no more
			b.StopTimer()
			closeQuietly(l)
			if err := vfs.Default.RemoveAll(l.cfg.Dir); err != nil {
				b.Fatal(err)
			}
			l, batch = benchLog(b), benchBatch()
			b.StartTimer()
		}
		appendNext(b, l, batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

// BenchmarkWriteAt is what an append costs where it is cheapest: the bytes of a batch
// of 100 records of 100 B, of five such, and of 1 MiB, to pages that the page cache does
// not have, and to pages that it has.
func BenchmarkWriteAt(b *testing.B) {
	const fileSize = 256 << 20
	for _, size := range []int{11_000, 55_000, 1 << 20} {
		for _, pages := range []string{"new", "old"} {
			b.Run(fmt.Sprintf("%s/%d", pages, size), func(b *testing.B) {
				f, err := os.Create(filepath.Join(b.TempDir(), "f"))
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = f.Close() }()
				buf := make([]byte, size)
				at := int64(fileSize)
				b.SetBytes(int64(size))
				for b.Loop() {
					if at+int64(size) > fileSize {
						b.StopTimer()
						startOver(b, f, pages == "old", fileSize)
						at = 0
						b.StartTimer()
					}
					if _, err := f.WriteAt(buf, at); err != nil {
						b.Fatal(err)
					}
					at += int64(size)
				}
			})
		}
	}
}

// startOver empties a file, and fills it with zeros if fill.
func startOver(b *testing.B, f *os.File, fill bool, size int) {
	if err := f.Truncate(0); err != nil {
		b.Fatal(err)
	}
	if fill {
		if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAppendSync appends 100 KiB and syncs.
func BenchmarkAppendSync(b *testing.B) {
	l, batch := benchLog(b), benchBatch()
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		appendNext(b, l, batch)
		if err := l.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRead reads a log of 50 MB through, a chunk a call, as a consumer
// does; or jumps about in it.
func BenchmarkRead(b *testing.B) {
	l, batch := benchLog(b), benchBatch()
	for range 500 {
		appendNext(b, l, batch)
	}
	dst := make([]byte, 0, 1<<20)
	for _, c := range []struct {
		name     string
		maxBytes int
		stride   int64
	}{{"sequential/100KiB", 110 << 10, 0}, {"sequential/1MiB", 1<<20 - 1, 0}, {"random/100KiB", 110 << 10, 77_777}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			next, read := int64(0), int64(0)
			for b.Loop() {
				chunk, err := l.Read(next, l.End(), c.maxBytes, true, dst[:0])
				if err != nil {
					b.Fatal(err)
				}
				read += int64(len(chunk))
				if c.stride > 0 {
					next = (next + c.stride) % l.End()
					continue
				}
				last := chunk
				for rest := chunk; len(rest) > 0; {
					if last, rest, err = recordbatch.Split(rest); err != nil {
						b.Fatal(err)
					}
				}
				if next = recordbatch.Batch(last).NextOffset(); next >= l.End() {
					next = 0
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(read)*100, "ns/100B")
		})
	}
}

// BenchmarkOpen reads a killed log of 50 MB.
func BenchmarkOpen(b *testing.B) {
	l, batch := benchLog(b), benchBatch()
	for range 500 {
		appendNext(b, l, batch)
		batch.SetCRC()
	}
	b.SetBytes(l.SizeBytes())
	for b.Loop() {
		again, err := Open(Config{Dir: l.cfg.Dir, SegmentBytes: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		closeQuietly(again)
		b.StopTimer()
		if err := l.dir.remove(checkpointFile); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkCompactionOfAborted: each transaction of one producer was aborted; what
// a transaction costs must not grow with their number.
func BenchmarkCompactionOfAborted(b *testing.B) {
	for _, txns := range []int{2000, 20_000} {
		b.Run(fmt.Sprint(txns), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				now := int64(0)
				cfg := testConfig(vfs.NewMem())
				cfg.SegmentBytes, cfg.Now = 1<<20, func() time.Time { return time.UnixMilli(now) }
				l := mustOpen(b, cfg)
				for i := range txns {
					batch := makeBatch(source{id: 1, sequence: int32(i), transactional: true}, 1, "v")
					if _, err := l.Append(batch, nil); err != nil {
						b.Fatal(err)
					}
					if _, _, err := l.AppendMarker(Marker{ProducerID: 1, Epoch: 0, CoordinatorEpoch: 1}); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				for i := range 3 { // the data goes, the markers get their time, and go
					l.SetSegmentLimits(1, 0)
					putAt(b, l, fmt.Sprint(i), 1)
					putAt(b, l, fmt.Sprint(i), 1)
					l.SetSegmentLimits(1<<20, 0)
					if err := l.Sync(); err != nil {
						b.Fatal(err)
					}
					if _, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil {
						b.Fatal(err)
					}
					now++
				}
				if n := len(l.Aborted(0, l.End())); n > 1 {
					b.Fatalf("%d aborted transactions are left", n)
				}
				closeQuietly(l)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*txns), "ns/txn")
		})
	}
}

// BenchmarkCheckpoint: what a checkpoint costs must not grow with the segment.
func BenchmarkCheckpoint(b *testing.B) {
	for _, entries := range []int{1000, 250_000} { // the index of 4 MiB, and of 1 GiB
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			cfg := testConfig(vfs.NewMem())
			cfg.SegmentBytes, cfg.IndexIntervalBytes = 1<<30, 1
			l := mustOpen(b, cfg)
			defer closeQuietly(l)
			add := func() {
				if _, err := l.Append(makeBatch(source{id: -1}, 1, "v"), nil); err != nil {
					b.Fatal(err)
				}
			}
			for range entries {
				add()
			}
			b.ReportAllocs()
			for b.Loop() {
				add()
				checkpointNow(b, l)
			}
		})
	}
}
