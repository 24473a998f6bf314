package logbroker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// packedAs is a batch that says it has one record, in what is packed.
func packedAs(codec recordbatch.Codec, packed []byte) recordbatch.Batch {
	b := append(slices.Clone(oneRecord(-1, -1, -1, false, ""))[:recordbatch.HeaderSize], packed...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-recordbatch.LogOverhead))
	b[22] |= byte(codec)
	b.SetCRC()
	return b
}

// packedZeros are so many bytes and all of them 0, in pieces of 16 MiB.
func packedZeros(t *testing.T, codec recordbatch.Codec, pieces int) []byte {
	t.Helper()
	piece, err := codec.Compress(nil, make([]byte, 16<<20), 0)
	if err != nil {
		t.Fatal(err)
	}
	if codec == recordbatch.CodecSnappy {
		const head = 16 // of all blocks
		return append(piece, bytes.Repeat(piece[head:], pieces-1)...)
	}
	return bytes.Repeat(piece, pieces)
}

// produceOf writes each batch to a partition of t.
func produceOf(batches ...recordbatch.Batch) *kmsg.ProduceRequest {
	req := writeTo("t", int32(len(batches)))
	for i, b := range batches {
		req.Topics[0].Partitions[i].Records = b
	}
	return req
}

// TestBombsAreRefused: batches that become 512 MiB cost a bounded time and memory, of which
// nothing stays, and an answer that says so; what is sent with them is written, and the
// connection goes on.
func TestBombsAreRefused(t *testing.T) {
	const bombs, clients = 2, 2
	for codec, pieces := range map[recordbatch.Codec]int{
		recordbatch.CodecGzip: 32, recordbatch.CodecSnappy: 12, recordbatch.CodecLZ4: 32, recordbatch.CodecZstd: 32,
	} {
		t.Run(codec.String(), func(t *testing.T) {
			b, addr, _ := serveSecured(t, Config{}, Listener{})
			if _, err := b.topics.create("t", bombs+1, map[string]string{"max.message.bytes": "20000000"}, false); err != nil {
				t.Fatal(err)
			}
			bomb := packedAs(codec, packedZeros(t, codec, pieces))
			t.Logf("%d bytes become %d MiB", len(bomb), pieces*16)
			connected := make([]*wire, clients)
			for i := range connected {
				connected[i] = dialWire(t, addr)
				_ = connected[i].SetDeadline(time.Now().Add(2 * time.Minute))
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var wg sync.WaitGroup
			for _, c := range connected {
				wg.Go(func() {
					resp, err := c.call(produceOf(bomb, bomb, oneRecord(-1, -1, -1, false, "v")))
					if err != nil {
						t.Errorf("the connection ends: %v", err)
						return
					}
					for _, p := range resp.(*kmsg.ProduceResponse).Topics[0].Partitions {
						if want := p.Partition < bombs; (p.ErrorCode == kerr.UnknownServerError.Code) != want || !want && p.ErrorCode != 0 {
							t.Errorf("partition %d: error %d, %v", p.Partition, p.ErrorCode, p.ErrorMessage)
						}
					}
					if resp, err := c.call(&kmsg.MetadataRequest{Version: 9}); err != nil || len(resp.(*kmsg.MetadataResponse).Topics) != 1 {
						t.Errorf("afterwards: %v", err)
					}
				})
			}
			wg.Wait()
			runtime.GC() // pools keep what they had through one
			runtime.ReadMemStats(&after)
			if each := (after.TotalAlloc - before.TotalAlloc) / (bombs * clients); each > 12*recordbatch.MaxDecompressed { // buffers grow; all of it would be more than 16
				t.Errorf("%d MiB were taken for each bomb", each>>20)
			}
			if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > 64<<20 {
				t.Errorf("%d MiB stay", kept>>20)
			}
		})
	}
}

// TestLargeWhenWrittenAnew: a batch that its topic has written anew, with another compression
// or none, is not larger then than the topic takes, and no memory for a large one stays.
func TestLargeWhenWrittenAnew(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("compression.type=uncompressed", "max.message.bytes=10000")
	for size, want := range map[int]*kerr.Error{9_000: nil, 11_000: kerr.MessageTooLarge, 50 << 20: kerr.MessageTooLarge} {
		batch, err := new(recordbatch.Reader).Recode(nil, w.keyed(w.now, "k="+string(make([]byte, size))), recordbatch.CodecZstd, 0)
		if err != nil || len(batch) > 10_000 {
			t.Fatalf("%d bytes, %v", len(batch), err)
		}
		w.want(w.produce(13, nil, 0, batch).ErrorCode, want)
		r := w.readers.get(true)
		if r.Inflated() > keptInflated {
			t.Errorf("a reader keeps %d bytes", r.Inflated())
		}
		w.readers.put(r)
	}
	if end := w.topics.byName("t").parts()[0].log.End(); end != 1 {
		t.Errorf("%d records are written, want 1", end)
	}
}

// TestInflatingIsBounded: no more batches are decompressed at once than there are places,
// whatever for; what is not compressed waits for none.
func TestInflatingIsBounded(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4 * maxInflating))
	b, addr, _ := serveSecured(t, Config{}, Listener{})
	if _, err := b.topics.create("t", 1, map[string]string{"compression.type": "gzip"}, false); err != nil {
		t.Fatal(err)
	}
	packed, err := new(recordbatch.Reader).Recode(nil, oneRecord(-1, -1, -1, false, "packed"), recordbatch.CodecZstd, 0)
	if err != nil {
		t.Fatal(err)
	}
	var taken []*batchReader
	for range maxInflating {
		taken = append(taken, b.readers.get(true))
	}
	const waiting = 2
	done := make(chan error, waiting)
	go func() {
		_, err := b.recode(packed, b.topics.byName("t").policy.Load())
		done <- err
	}()
	c := dialWire(t, addr)
	c.send(frameOf(produceOf(packed)))
	go func() {
		_, err := c.receive()
		done <- err
	}()
	if eventually(200*time.Millisecond, func() bool { return len(done) > 0 }) {
		t.Error("more is decompressed than there are places for")
	}
	resp, err := dialWire(t, addr).call(writeOne())
	if err != nil || resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("what is not compressed is not taken: %v, %v", resp, err)
	}
	for _, r := range taken {
		b.readers.put(r)
	}
	if err := errors.Join(<-done, <-done); err != nil {
		t.Error(err)
	}
	if held := len(b.readers.inflating); held != 0 {
		t.Errorf("%d places are not given back", held)
	}
}
