package logbroker

import (
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/levada/levada/internal/loopback"
)

// BenchmarkFloor is what a broker cannot do without, in CPU for a record: to take a
// batch from a socket, to compute its checksum and to write it to pages that the page
// cache does not have, of space that is reserved, and to send it from the file to another
// socket. Nobody is told anything and no record is looked at. Where it is to be durable so
// many batches share a sync. Where it is direct they go to the disk past the page cache,
// together, and come from the disk when they are read.
func BenchmarkFloor(b *testing.B) {
	for _, test := range []struct {
		record, records, synced int
		direct                  bool
	}{
		{record: 100, records: 10_000},
		{record: 100, records: 100},
		{record: 1024, records: 1000},
		{record: 100, records: 10_000, synced: 1},
		{record: 100, records: 100, synced: 5}, // as many as a client has in flight
		{record: 1024, records: 1000, synced: 1},
		{record: 100, records: 10_000, synced: 8}, // about as much as many partitions have at once
		{record: 1024, records: 1000, synced: 8},
		{record: 100, records: 10_000, synced: 8, direct: true},
		{record: 1024, records: 1000, synced: 8, direct: true},
	} {
		name := fmt.Sprintf("record=%d/batch=%d/synced=%d", test.record, test.records, test.synced)
		if test.direct {
			name += "/direct"
		}
		b.Run(name, func(b *testing.B) {
			size := (test.record + 10) * test.records // a record has some bytes of its own
			// As Kafka counts them: only what the broker's threads use.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			f := newFloorFile(b, test.synced*size, test.direct)
			from, to := blockingSocket(b, func(c net.Conn) { endless(c, make([]byte, size)) }), blockingSocket(b, asks)
			table := crc32.MakeTable(crc32.Castagnoli)
			buf := make([]byte, size)
			var cpu [2]float64 // of writing and of reading, in us
			var took [2]time.Duration
			bytes := 0 // those of whole answers
			for done := 0; done < b.N; {
				n := min(b.N-done, fileBytes/size)
				f.empty(b)
				began, beganCPU := time.Now(), threadMicros(b)
				for i := range n {
					receive(b, from, buf)
					_ = crc32.Checksum(buf, table)
					f.write(b, buf)
					if test.synced > 0 && ((i+1)%test.synced == 0 || i == n-1) {
						f.sync(b)
					}
				}
				written, writtenCPU := time.Now(), threadMicros(b)
				onDisk := int(f.end - f.had)
				send(b, to, int(f.Fd()), onDisk)
				took[0], took[1] = took[0]+written.Sub(began), took[1]+time.Since(written)
				cpu[0], cpu[1] = cpu[0]+writtenCPU-beganCPU, cpu[1]+threadMicros(b)-writtenCPU
				bytes += onDisk / answer * answer
				done += n
			}
			b.ReportMetric(cpu[0]/float64(b.N*test.records), "cpu-us/written")
			b.ReportMetric(cpu[1]/float64(b.N*test.records), "cpu-us/read")
			b.ReportMetric(float64(b.N*size)/1e6/took[0].Seconds(), "written-MB/s")
			b.ReportMetric(float64(bytes)/1e6/took[1].Seconds(), "read-MB/s")
		})
	}
}

// floorFile is what a batch is written to.
type floorFile struct {
	*os.File
	past               *os.File // the same past the page cache, or nil
	together           []byte   // what goes there with the next sync, at an address that it takes
	end, reserved, had int64    // had is how much of together there is
}

const (
	fileBytes  = 256 << 20
	blockBytes = 4096 // what is written past the page cache begins and ends with one
)

// newFloorFile makes a file, of which past the page cache so many bytes are synced at once.
func newFloorFile(b *testing.B, synced int, direct bool) *floorFile {
	b.Helper()
	name := filepath.Join(b.TempDir(), "f")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if !direct {
		return &floorFile{File: f}
	}
	past, err := os.OpenFile(name, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		b.Skip("this file system writes nothing past the page cache: ", err)
	}
	b.Cleanup(func() { past.Close() })
	mapped, err := unix.Mmap(-1, 0, synced+blockBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Munmap(mapped) })
	return &floorFile{File: f, past: past, together: mapped}
}

func (f *floorFile) empty(b *testing.B) {
	if err := f.Truncate(0); err != nil {
		b.Fatal(err)
	}
	f.end, f.reserved, f.had = 0, 0, 0
}

func (f *floorFile) write(b *testing.B, batch []byte) {
	if end := f.end + int64(len(batch)); end > f.reserved {
		f.reserved = end + 4<<20
		_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, f.reserved) // where there is such
	}
	if f.past != nil {
		f.had += int64(copy(f.together[f.had:], batch))
	} else if _, err := f.WriteAt(batch, f.end); err != nil {
		b.Fatal(err)
	}
	f.end += int64(len(batch))
}

func (f *floorFile) sync(b *testing.B) {
	if f.past != nil {
		whole := f.had / blockBytes * blockBytes
		if _, err := f.past.WriteAt(f.together[:whole], f.end-f.had); err != nil {
			b.Fatal(err)
		}
		f.had = int64(copy(f.together, f.together[whole:f.had]))
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		b.Fatal(err)
	}
}

// blockingSocket is one end of a TCP connection, without Go's poller; peer has the other.
func blockingSocket(b *testing.B, peer func(net.Conn)) int {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	loopback.Unpace(ln)
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	file, err := c.(*net.TCPConn).File() // which blocks
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { file.Close(); c.Close(); client.Close() })
	go peer(client)
	return int(file.Fd())
}

func endless(c net.Conn, batch []byte) {
	for {
		if _, err := c.Write(batch); err != nil {
			return // it is over
		}
	}
}

// answer is what a client asks for at once: a MiB of a partition.
const answer = 1 << 20

// asks reads an answer and asks for the next.
func asks(c net.Conn) {
	buf := make([]byte, answer)
	for {
		if _, err := c.Write(buf[:1]); err != nil {
			return // it is over
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return
		}
	}
}

// send answers who asks with what a file has.
func send(b *testing.B, to, from, size int) {
	var request [1]byte
	for position := int64(0); position+answer <= int64(size); {
		receive(b, to, request[:])
		for end := position + answer; position < end; {
			if sent, err := unix.Sendfile(to, from, &position, int(end-position)); err != nil || sent == 0 {
				b.Fatal(sent, err)
			}
		}
	}
}

func receive(b *testing.B, fd int, buf []byte) {
	for len(buf) > 0 {
		n, err := unix.Read(fd, buf)
		if err != nil || n == 0 {
			b.Fatal(n, err)
		}
		buf = buf[n:]
	}
}

// threadMicros is the CPU of this thread so far, in microseconds.
func threadMicros(b *testing.B) float64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec)*1e6 + float64(u.Utime.Usec+u.Stime.Usec)
}

// BenchmarkFloorThrough is what gets through where 16 partitions are written, durable, and
// only that is done: requests of 4 MiB are received, their checksums computed, and written to
// 16 files, while what was written before is synced and answered. The client has five requests
// in flight.
func BenchmarkFloorThrough(b *testing.B) {
	const files, inFlight, piece = 16, 5, 256 << 10
	const requests = 1 << 30 / (files * piece) // until the files begin anew
	dir := b.TempDir()
	root, err := os.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	var to [files]*os.File
	for i := range to {
		if to[i], err = os.Create(filepath.Join(dir, fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
		defer to[i].Close()
	}
	from := blockingSocket(b, func(c net.Conn) { pipelined(c, make([]byte, files*piece), inFlight) })
	table := crc32.MakeTable(crc32.Castagnoli)
	buf := make([]byte, files*piece)
	b.SetBytes(files * piece)
	for done := 0; done < b.N; done += requests {
		b.StopTimer()
		for _, f := range to {
			if err := f.Truncate(0); err != nil {
				b.Fatal(err)
			}
			_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, requests*piece) // where there is such
		}
		b.StartTimer()
		written, synced := make(chan struct{}, inFlight), make(chan error, 1)
		go func() { synced <- answerSynced(root, from, written) }()
		for n := range min(requests, b.N-done) {
			receive(b, from, buf)
			for i, f := range to {
				batch := buf[i*piece:][:piece]
				_ = crc32.Checksum(batch, table)
				if _, err := f.WriteAt(batch, int64(n)*piece); err != nil {
					b.Fatal(err)
				}
			}
			written <- struct{}{}
		}
		close(written)
		if err := <-synced; err != nil {
			b.Fatal(err)
		}
	}
}

// answerSynced syncs what was written, until there is no more, and answers it.
func answerSynced(root *os.File, to int, written <-chan struct{}) error {
	for range written {
		n := 1 + len(written)
		for range n - 1 {
			<-written
		}
		err := unix.Syncfs(int(root.Fd()))
		if err == nil {
			_, err = unix.Write(to, make([]byte, n))
		}
		if err != nil {
			_ = unix.Shutdown(to, unix.SHUT_RDWR) // nothing more is received
			return err
		}
	}
	return nil
}

// pipelined sends a request as long as not more than inFlight are not answered.
func pipelined(c net.Conn, request []byte, inFlight int) {
	answers := make([]byte, inFlight)
	for waiting := 0; ; waiting++ {
		if waiting == inFlight {
			n, err := c.Read(answers)
			if err != nil {
				return // it is over
			}
			waiting -= n
		}
		if _, err := c.Write(request); err != nil {
			return
		}
	}
}
