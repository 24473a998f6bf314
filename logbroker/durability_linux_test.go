package logbroker

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkManyLogsDurable makes one write to each of many files durable, in the
// ways that a broker with many partitions could: docs/decisions/0006-durability.md.
func BenchmarkManyLogsDurable(b *testing.B) {
	for _, logs := range []int{1, 16, 256, 1000} {
		for _, bytes := range []int{4 << 10, 64 << 10} {
			for _, way := range []struct {
				name string
				fn   func(*testing.B, []*os.File, []byte, *os.File)
			}{
				{"one-by-one", parallelSync(1)},
				{"parallel-8", parallelSync(8)},
				{"parallel-32", parallelSync(32)},
				{"parallel-128", parallelSync(128)},
				{"syncfs", syncTogether},
				{"shared-file", sharedFile},
			} {
				b.Run(fmt.Sprintf("logs=%d/bytes=%d/%s", logs, bytes, way.name), func(b *testing.B) { benchDurable(b, logs, bytes, way.fn) })
			}
		}
	}
}

func benchDurable(b *testing.B, logs, bytes int, fn func(*testing.B, []*os.File, []byte, *os.File)) {
	dir := b.TempDir()
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { f.Close() })
		return f
	}
	files := make([]*os.File, logs)
	for i := range files {
		files[i] = open(fmt.Sprint(i))
	}
	shared := open("shared")
	data := make([]byte, bytes)
	before := cpuSeconds(b)
	b.ResetTimer()
	for range b.N {
		fn(b, files, data, shared)
	}
	b.StopTimer()
	b.ReportMetric((cpuSeconds(b)-before)*1e6/float64(b.N*logs), "cpu-us/log")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*logs), "us/log")
}

func cpuSeconds(b *testing.B) float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}

func writeAll(b *testing.B, files []*os.File, data []byte) {
	for _, f := range files {
		if _, err := f.Write(data); err != nil {
			b.Fatal(err)
		}
	}
}

func parallelSync(n int) func(*testing.B, []*os.File, []byte, *os.File) {
	return func(b *testing.B, files []*os.File, data []byte, _ *os.File) {
		writeAll(b, files, data)
		var work sync.WaitGroup
		slots := make(chan struct{}, n)
		for _, f := range files {
			slots <- struct{}{}
			work.Go(func() {
				if err := unix.Fdatasync(int(f.Fd())); err != nil {
					b.Error(err)
				}
				<-slots
			})
		}
		work.Wait()
	}
}

func syncTogether(b *testing.B, files []*os.File, data []byte, _ *os.File) {
	writeAll(b, files, data)
	if err := unix.Syncfs(int(files[0].Fd())); err != nil {
		b.Fatal(err)
	}
}

// sharedFile is the least that a shared write-ahead file costs: all is written to
// it and synced, and to the logs, which the kernel writes back by itself.
func sharedFile(b *testing.B, files []*os.File, data []byte, shared *os.File) {
	for range files {
		if _, err := shared.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	if err := unix.Fdatasync(int(shared.Fd())); err != nil {
		b.Fatal(err)
	}
	writeAll(b, files, data)
}
