package logbroker

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"github.com/levada/levada/logbroker/commitlog"
)

// dataSegments is how many segments with data a connection has sent.
func dataSegments(t *testing.T, c net.Conn) (n uint32) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		info, failed := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if failed != nil {
			t.Fatal(failed)
		}
		n = info.Data_segs_out
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnswerIsOnePacket: what comes before and after the records of a file goes with
// them, at once.
func TestAnswerIsOnePacket(t *testing.T) {
	log, err := commitlog.Open(commitlog.Config{FS: vfs.Default, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.Append(oneRecord(-1, -1, -1, false, strings.Repeat("v", minSent)), nil); err != nil {
		t.Fatal(err)
	}
	records, ok := log.Locate(0, log.End(), 1<<20, 1)
	if !ok {
		t.Fatal("no records")
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = 12 // whose partitions end with tags
	resp.Topics = []kmsg.FetchResponseTopic{{Topic: "t", Partitions: []kmsg.FetchResponseTopicPartition{kmsg.NewFetchResponseTopicPartition()}}}
	here, there := tcpPair(t)
	steps := 0
	for n := range 3 {
		before := dataSegments(t, here)
		answer := &fetchAnswer{FetchResponse: resp, ranges: []commitlog.Range{records}}
		frame, err := answer.write(here, bufio.NewWriter(here), []byte("\x00\x00\x00\x00head"), &patience{write: time.Minute, speed: 1}, func() { steps++ })
		if err != nil {
			t.Fatal(err)
		}
		// A connection begins with a window that is smaller than the first answer.
		if sent := dataSegments(t, here) - before; sent != 1 && n > 0 {
			t.Errorf("answer %d has gone in %d packets", n, sent)
		}
		_ = there.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := there.Read(make([]byte, len(frame)+records.Size())); err != nil {
			t.Errorf("nothing came: %v", err)
		}
	}
	if steps != 3 {
		t.Errorf("%d steps of 3 answers with one partition", steps)
	}
}
