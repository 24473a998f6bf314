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

	"golang.org/x/sys/unix"

	"github.com/levada/levada/internal/loopback"
)

// BenchmarkFloor is what a broker cannot do without, in CPU for a record: to take a
// batch from a socket, to compute its checksum and to write it to pages that the page
// cache does not have, of space that is reserved, and to send it from the file to another
// socket. Nobody is told anything and no record is looked at. Where it is to be durable so
// many batches share a sync.
func BenchmarkFloor(b *testing.B) {
	for _, test := range []struct{ record, records, synced int }{
		{100, 10_000, 0},
		{100, 100, 0},
		{1024, 1000, 0},
		{100, 10_000, 1},
		{100, 100, 5}, // as many as a client has in flight
		{1024, 1000, 1},
		{100, 10_000, 8}, // about as much as many partitions have at once
		{1024, 1000, 8},
	} {
		b.Run(fmt.Sprintf("record=%d/batch=%d/synced=%d", test.record, test.records, test.synced), func(b *testing.B) {
			size := (test.record + 10) * test.records // a record has some bytes of its own
			// As Kafka counts them: only what the broker's threads use.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			const fileSize, ahead = 256 << 20, 4 << 20
			f, err := os.Create(filepath.Join(b.TempDir(), "f"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			from, to := blockingSocket(b, func(c net.Conn) { endless(c, make([]byte, size)) }), blockingSocket(b, asks)
			table := crc32.MakeTable(crc32.Castagnoli)
			buf := make([]byte, size)
			var cost [2]float64 // of writing and of reading, in us
			for done := 0; done < b.N; {
				n := min(b.N-done, fileSize/size)
				if err := f.Truncate(0); err != nil {
					b.Fatal(err)
				}
				reserved := int64(0)
				began := threadMicros(b)
				for i := range n {
					receive(b, from, buf)
					_ = crc32.Checksum(buf, table)
					if end := int64((i + 1) * size); end > reserved {
						reserved = end + ahead
						_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, reserved) // where there is such
					}
					if _, err := f.WriteAt(buf, int64(i*size)); err != nil {
						b.Fatal(err)
					}
					if test.synced > 0 && i%test.synced == 0 {
						if err := unix.Fdatasync(int(f.Fd())); err != nil {
							b.Fatal(err)
						}
					}
				}
				written := threadMicros(b)
				send(b, to, int(f.Fd()), n*size)
				cost[0], cost[1] = cost[0]+written-began, cost[1]+threadMicros(b)-written
				done += n
			}
			b.ReportMetric(cost[0]/float64(b.N*test.records), "cpu-us/written")
			b.ReportMetric(cost[1]/float64(b.N*test.records), "cpu-us/read")
		})
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
