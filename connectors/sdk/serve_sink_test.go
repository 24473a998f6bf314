package sdk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
)

// ledger is a sink that keeps what it is given. It refuses values that begin
// with "bad".
type ledger struct {
	positions []Position
	stored    []string
	write     func(d *Delivery) ([]Rejection, error) // if set, instead
	gate      chan struct{}                          // if set, a write waits for it
	closed    int
}

func (l *ledger) Write(ctx context.Context, d *Delivery) ([]Rejection, error) {
	if l.write != nil {
		return l.write(d)
	}
	if l.gate != nil {
		select {
		case <-l.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var rows []string
	var rejections []Rejection
	for r := range d.Records() {
		if strings.HasPrefix(string(r.Value), "bad") {
			rejections = append(rejections, Rejection{r.TopicPartition, r.Offset, "is bad"})
		}
		rows = append(rows, fmt.Sprintf("%d/%d=%s", r.Partition, r.Offset, r.Value))
	}
	if len(rejections) == 0 && d.Err() == nil {
		l.stored = append(l.stored, rows...)
	}
	return rejections, d.Err()
}

func (l *ledger) Close() error { l.closed++; return nil }

func sinkInBubble(t *testing.T, l *ledger, test func(t *testing.T, h *sinkHost)) {
	t.Helper()
	plugin := Plugin{Name: "ledger", Sink: SinkOf(func(context.Context, noSettings, SinkStart) (Sink, []Position, error) {
		return l, l.positions, nil
	})}
	synctest.Test(t, func(t *testing.T) {
		h := serve(t, quietServer(plugin).RunSink)
		h.commands <- openSink()
		if e := <-h.events; e.GetOpened().GetCreditBytes() != sinkCreditBytes || len(e.GetOpened().Positions) != len(l.positions) {
			t.Fatalf("got %v, want opened", e)
		}
		test(t, h)
		h.cancel()
		synctest.Wait()
		if l.closed != 1 {
			t.Errorf("the sink was closed %d times", l.closed)
		}
	})
}

// records is a batch of values at consecutive offsets.
func records(base int64, values ...string) []byte {
	var b recordbatch.Builder
	for _, v := range values {
		b.Append(0, nil, []byte(v), nil)
	}
	batch := b.Batch()
	batch.SetBaseOffset(base)
	batch.SetCRC()
	return batch
}

// TestSinkStores asserts that records are written in order, those the target
// holds left out, that positions and credit come back, and that a stop lets
// the queue drain.
func TestSinkStores(t *testing.T) {
	l := &ledger{positions: []Position{{TopicPartition{"t", 0}, 2}}}
	sinkInBubble(t, l, func(t *testing.T, h *sinkHost) {
		l.gate = make(chan struct{})
		sizes := int64(0)
		for _, c := range []*proto.SinkCommand{write(0, records(1, "held", "a"), 3), write(1, nil, 9), write(0, append(records(3, "b"), records(7, "c", "beyond")...), 8)} {
			h.commands <- c
			sizes += int64(len(c.GetWrite().Records)) + writeOverheadBytes
		}
		h.commands <- sinkStop()
		close(l.gate)
		next, credit := map[int32]int64{}, int64(0)
		for e := range h.events {
			for _, p := range e.GetDurable().GetPositions() {
				next[p.Partition] = p.NextOffset
			}
			credit += e.GetDurable().GetCreditBytes()
		}
		if err := <-h.done; err != nil {
			t.Error(err)
		}
		if want := []string{"0/2=a", "0/3=b", "0/7=c"}; !slices.Equal(l.stored, want) {
			t.Errorf("stored were %q, want %q", l.stored, want)
		}
		if fmt.Sprint(next) != "map[0:8 1:9]" || credit != sizes {
			t.Errorf("durable were %v with %d bytes of credit, want %d", next, credit, sizes)
		}
	})
}

// TestSinkRejects asserts that nothing is stored before the host has the
// rejected records.
func TestSinkRejects(t *testing.T) {
	l := &ledger{}
	sinkInBubble(t, l, func(t *testing.T, h *sinkHost) {
		h.commands <- write(0, records(0, "a", "bad one", "b", "bad two"), 4)
		var offsets []int64
		for _, j := range (<-h.events).GetRejected().GetRejections() {
			offsets = append(offsets, j.Offset)
		}
		synctest.Wait()
		if !slices.Equal(offsets, []int64{1, 3}) || len(l.stored) > 0 {
			t.Fatalf("rejected were %v, stored %q", offsets, l.stored)
		}
		h.commands <- &proto.SinkCommand{Command: &proto.SinkCommand_RejectionsStored{RejectionsStored: &proto.RejectionsStored{}}}
		if e := <-h.events; e.GetDurable().GetPositions()[0].GetNextOffset() != 4 || !slices.Equal(l.stored, []string{"0/0=a", "0/2=b"}) {
			t.Errorf("got %v, stored %q", e, l.stored)
		}
	})
}

// TestSinkErrors asserts which error the host is sent.
func TestSinkErrors(t *testing.T) {
	torn := records(0, "a", "b")[:75]
	over := write(0, make([]byte, 20<<20), 1)
	again := func(*Delivery) ([]Rejection, error) {
		return []Rejection{{TopicPartition{"t", 0}, 0, "no"}}, nil
	}
	stored := &proto.SinkCommand{Command: &proto.SinkCommand_RejectionsStored{RejectionsStored: &proto.RejectionsStored{}}}
	tests := []struct {
		name      string
		write     func(*Delivery) ([]Rejection, error)
		commands  []*proto.SinkCommand
		code      proto.Error_Code
		retryable bool
		want      string
	}{
		{"fails", func(*Delivery) ([]Rejection, error) { return nil, errors.New("disk full") }, []*proto.SinkCommand{write(0, nil, 1)}, proto.Error_CODE_EXTERNAL, true, "disk full"},
		{"panics", func(*Delivery) ([]Rejection, error) { panic("oops") }, []*proto.SinkCommand{write(0, nil, 1)}, proto.Error_CODE_INTERNAL, true, "panic: oops"},
		{"fenced", func(*Delivery) ([]Rejection, error) { return nil, ErrFenced }, []*proto.SinkCommand{write(0, nil, 1)}, proto.Error_CODE_FENCED, false, "newer instance"},
		{"no records", nil, []*proto.SinkCommand{write(3, torn, 2)}, proto.Error_CODE_PROTOCOL, false, "t/3: recordbatch: corrupt"},
		{"error not asked for", func(d *Delivery) ([]Rejection, error) {
			for range d.Records() {
			}
			return nil, nil
		}, []*proto.SinkCommand{write(3, torn, 2)}, proto.Error_CODE_PROTOCOL, false, "t/3: recordbatch: corrupt"},
		{"rejects twice", again, []*proto.SinkCommand{write(0, records(0, "a"), 1), stored}, proto.Error_CODE_EXTERNAL, false, "rejects t/0 offset 0, which was left out already"},
		{"over credit", nil, []*proto.SinkCommand{write(0, nil, 1), over, over, over}, proto.Error_CODE_PROTOCOL, false, "bytes more than the credit"},
		{"opened twice", nil, []*proto.SinkCommand{openSink()}, proto.Error_CODE_PROTOCOL, false, "unexpected command *proto.SinkCommand_Open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &ledger{write: tt.write}
			sinkInBubble(t, l, func(t *testing.T, h *sinkHost) {
				if tt.name == "over credit" { // a write is under way meanwhile
					l.gate = make(chan struct{})
				}
				for _, c := range tt.commands {
					h.commands <- c
					if tt.name == "rejects twice" && c.GetWrite() != nil {
						<-h.events
					}
				}
				if l.gate != nil {
					synctest.Wait()
					close(l.gate)
				}
				var last *proto.SinkEvent
				for e := range h.events {
					if last = e; last.GetAlive() != nil {
						t.Fatal("it goes on")
					}
				}
				if m := last.GetError(); m.GetCode() != tt.code || m.GetRetryable() != tt.retryable || !strings.Contains(m.GetMessage(), tt.want) {
					t.Errorf("got %v, want %v, retryable %v, %q", m, tt.code, tt.retryable, tt.want)
				}
			})
		})
	}
}

// TestSinkQueueIsBounded asserts that messages without records, which have no
// bytes of their own, use up the credit as well.
func TestSinkQueueIsBounded(t *testing.T) {
	r := &sinkStream{credit: sinkCreditBytes}
	for range 2 * maxQueuedWrites {
		r.enqueue(&proto.WriteRecords{Topic: "t"})
	}
	if len(r.queue) != maxQueuedWrites || !errors.Is(r.err, errProtocol) {
		t.Errorf("%d messages wait, the error is %v", len(r.queue), r.err)
	}
}

// FuzzDelivery walks any bytes as the records of a message. It must not panic,
// and keep to the offsets between the target's position and the message's end.
func FuzzDelivery(f *testing.F) {
	f.Add(records(0, "a", "b", "c"), int64(1), int64(2))
	f.Add(append(records(0, "a"), records(5, "b")...), int64(0), int64(6))
	f.Add(records(0, "a", "b")[:75], int64(0), int64(2))
	f.Fuzz(func(t *testing.T, p []byte, start, next int64) {
		d := &Delivery{start: map[TopicPartition]int64{{"t", 0}: start}}
		d.add(&proto.WriteRecords{Topic: "t", Records: p, NextOffset: next})
		n := 0
		for r := range d.Records() {
			if r.Offset < start || r.Offset >= next {
				t.Fatalf("offset %d of %d to %d", r.Offset, start, next)
			}
			if n++; n > len(p) {
				t.Fatalf("more records than the %d bytes hold", len(p))
			}
		}
		if err := d.Err(); err != nil && !errors.Is(err, recordbatch.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
