package logbroker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
)

// An answer to a fetch has the same bytes whether its records come from memory or
// from a file: those that the protocol library writes, in every version.
func TestFetchAnswerIsEncodedAsTheLibraryDoes(t *testing.T) {
	log, err := commitlog.Open(commitlog.Config{FS: vfs.Default, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for i := range 40 {
		var b recordbatch.Builder
		b.Append(int64(i), []byte("key"), bytes.Repeat([]byte{byte(i)}, 2000), nil)
		batch := b.Batch()
		batch.SetCRC()
		if _, err := log.Append(batch, nil); err != nil {
			t.Fatal(err)
		}
	}
	served := kmsg.NewPtrFetchResponse().MaxVersion()
	rapid.Check(t, func(rt *rapid.T) {
		whole, lean := kmsg.NewPtrFetchResponse(), kmsg.NewPtrFetchResponse()
		var ranges []commitlog.Range
		version := int16(rapid.IntRange(4, int(served)).Draw(rt, "version"))
		whole.Version, whole.ThrottleMillis, whole.SessionID = version, rapid.Int32().Draw(rt, "throttle"), rapid.Int32().Draw(rt, "session")
		whole.ErrorCode = rapid.Int16().Draw(rt, "error")
		*lean = *whole
		lean.Topics = nil
		for range rapid.IntRange(0, 3).Draw(rt, "topics") {
			topic := kmsg.NewFetchResponseTopic()
			topic.Topic, topic.TopicID[3] = rapid.StringN(1, 20, 200).Draw(rt, "name"), rapid.Byte().Draw(rt, "id")
			bare := topic
			for range rapid.IntRange(0, 4).Draw(rt, "partitions") {
				p, r := drawPartition(rt, log)
				topic.Partitions = append(topic.Partitions, p)
				if r.Size() > 0 {
					p.RecordBatches = nil
				}
				bare.Partitions, ranges = append(bare.Partitions, p), append(ranges, r)
			}
			whole.Topics, lean.Topics = append(whole.Topics, topic), append(lean.Topics, bare)
		}
		body := whole.AppendTo([]byte("head"))
		want := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
		if got := overTCP(t, &fetchAnswer{FetchResponse: lean, ranges: ranges}); !bytes.Equal(got, want) {
			rt.Fatalf("version %d: %d bytes, the library writes %d", version, len(got), len(want))
		}
		if size, want := (&fetch{resp: lean, found: ranges}).size(), len(want)-len("head"); size != want {
			rt.Fatalf("version %d: counted as %d bytes of %d", version, size, want)
		}
	})
}

// drawPartition draws what a partition may answer, with the range that its records
// come from, if they are in a file.
func drawPartition(rt *rapid.T, log *commitlog.Log) (kmsg.FetchResponseTopicPartition, commitlog.Range) {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition, p.ErrorCode = rapid.Int32().Draw(rt, "partition"), rapid.Int16().Draw(rt, "code")
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = rapid.Int64().Draw(rt, "high"), rapid.Int64().Draw(rt, "stable"), rapid.Int64().Draw(rt, "start")
	p.PreferredReadReplica = rapid.Int32().Draw(rt, "replica")
	for range rapid.IntRange(0, 2).Draw(rt, "aborted") {
		a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
		a.ProducerID, a.FirstOffset = rapid.Int64().Draw(rt, "pid"), rapid.Int64().Draw(rt, "first")
		p.AbortedTransactions = append(p.AbortedTransactions, a)
	}
	if rapid.Bool().Draw(rt, "diverges") {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = rapid.Int32().Draw(rt, "epoch"), rapid.Int64().Draw(rt, "end")
	}
	switch rapid.IntRange(0, 2).Draw(rt, "records") {
	case 0:
		p.RecordBatches = []byte{}
	case 1:
		p.RecordBatches = rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(rt, "bytes")
	default:
		offset := rapid.Int64Range(0, 20).Draw(rt, "offset")
		r, ok := log.Locate(offset, log.End(), 1<<20, 1)
		if !ok {
			rt.Fatal("nothing located")
		}
		section, err := r.Open()
		if err != nil {
			rt.Fatal(err)
		}
		defer section.Close()
		if p.RecordBatches, err = io.ReadAll(section.Reader()); err != nil {
			rt.Fatal(err)
		}
		return p, r
	}
	return p, commitlog.Range{}
}

// overTCP writes an answer to a TCP connection and returns what came.
func overTCP(t *testing.T, f *fetchAnswer) []byte {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	came := make(chan []byte, 1)
	go func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			came <- nil
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c) // what is missing is seen
		came <- b
	}()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(c)
	if _, err := f.write(c, w, []byte("\x00\x00\x00\x00head"), &patience{write: time.Minute, speed: 1}, func() {}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	return <-came
}

// TestAnswerOfAShortenedFile: a file that somebody has cut ends the connection, plain or
// not: what follows would be taken for the rest of the records.
func TestAnswerOfAShortenedFile(t *testing.T) {
	for name, hide := range map[string]func(net.Conn) net.Conn{
		"plain":                   func(c net.Conn) net.Conn { return c },
		"through the broker, TLS": func(c net.Conn) net.Conn { return struct{ net.Conn }{c} },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			log, err := commitlog.Open(commitlog.Config{FS: vfs.Default, Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			if _, err := log.Append(oneRecord(-1, -1, -1, false, strings.Repeat("v", 1000)), nil); err != nil {
				t.Fatal(err)
			}
			r, ok := log.Locate(0, log.End(), 1<<20, 1)
			files, err := filepath.Glob(filepath.Join(dir, "*.log"))
			if !ok || err != nil || len(files) != 1 {
				t.Fatalf("located %v, in %v, %v", ok, files, err)
			}
			if err := os.Truncate(files[0], 500); err != nil {
				t.Fatal(err)
			}
			resp := kmsg.NewPtrFetchResponse()
			resp.Version = 11
			resp.Topics = []kmsg.FetchResponseTopic{{Topic: "t", Partitions: []kmsg.FetchResponseTopicPartition{kmsg.NewFetchResponseTopicPartition()}}}
			here, there := tcpPair(t)
			go func() { _, _ = io.Copy(io.Discard, there) }() // until this end is closed
			answer := &fetchAnswer{FetchResponse: resp, ranges: []commitlog.Range{r}}
			_, err = answer.write(hide(here), bufio.NewWriter(here), []byte("\x00\x00\x00\x00head"), &patience{write: time.Minute, speed: 1}, func() {})
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("after half of the records: %v", err)
			}
		})
	}
}

// tcpPair are both ends of a connection.
func tcpPair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if there, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if here, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = here.Close(), there.Close() })
	return here, there
}
