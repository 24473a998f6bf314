package host

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/levada/levada/connectors/proto"
)

func testInbox(inFlight, batch int64) *inbox {
	return newInbox(&Config{
		Name: "orders", Command: Command{Path: "/opt/feed"}, Logger: slog.New(slog.DiscardHandler),
		Limits: Limits{InFlightBytes: inFlight, BatchBytes: batch}.withDefaults(),
	})
}

func batchOf(recordBytes, positionBytes int) *proto.SourceEvent {
	return &proto.SourceEvent{Event: &proto.SourceEvent_Batch{Batch: &proto.SourceBatch{
		Records: make([]byte, recordBytes), Position: make([]byte, positionBytes),
	}}}
}

// endless is a plugin that sends the same event without end.
func endless(e *proto.SourceEvent) (recv func() (*proto.SourceEvent, error), sent *int) {
	sent = new(int)
	return func() (*proto.SourceEvent, error) { *sent++; return e, nil }, sent
}

// drain pops all that waits and returns how many events, their records' bytes
// and the error that ends them.
func drain(in *inbox) (events int, bytes int64, err error) {
	for {
		e, ok := in.pop()
		if !ok || e.err != nil {
			return events, bytes, e.err
		}
		events++
		bytes += batchSize(e.message.GetBatch())
	}
}

// TestInboxRefusesOverCredit asserts that the batch after the last credit is
// refused however busy the host is, and that no more than the credit and one
// batch was taken in.
func TestInboxRefusesOverCredit(t *testing.T) {
	tests := []struct {
		name              string
		records, position int
		taken             int
		want              []string
	}{
		{"one overdraws", 3000, 8, 4, []string{"connector orders: read: the plugin /opt/feed", "of 10000 bytes none was left", "a batch of 3000 bytes more", "credit_bytes"}},
		{"to the last byte", 2500, 8, 4, []string{"ignores its credit", "2500 bytes more"}},
		{"large batch", 6000, 8, 0, []string{"the plugin /opt/feed sent a batch of 6000 bytes where 4000 are allowed", "max_batch_bytes"}},
		{"large position", 100, maxPositionBytes + 1, 0, []string{"sent a position of 524289 bytes where 524288 are allowed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := testInbox(10_000, 4000)
			recv, sent := endless(batchOf(tt.records, tt.position))
			in.fill(bounded(t), recv)
			if *sent != tt.taken+1 {
				t.Errorf("%d batches were read, want %d", *sent, tt.taken+1)
			}
			if in.held > 10_000+4000+int64(tt.taken+1)*(2*eventOverhead)+maxPositionBytes {
				t.Errorf("%d bytes are held", in.held)
			}
			events, bytes, err := drain(in)
			if events != tt.taken || bytes != int64(tt.taken*tt.records) {
				t.Errorf("%d batches of %d bytes were taken, want %d of %d", events, bytes, tt.taken, tt.taken*tt.records)
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Retryable {
				t.Fatalf("got %v, want an *Error that is final", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(e.Error(), w) {
					t.Errorf("the error lacks %q: %v", w, e)
				}
			}
		})
	}
}

// TestInboxCreditReturns asserts that a plugin that keeps to its credit is
// never refused, and that what was granted can be used to the last byte.
func TestInboxCreditReturns(t *testing.T) {
	in := testInbox(10_000, 4000)
	for range 100 {
		e := batchOf(2500, 8)
		for range 4 {
			if err := in.charge(e.GetBatch()); err != nil {
				t.Fatal(err)
			}
		}
		in.grant(10_000)
	}
	if in.credit != 10_000 {
		t.Errorf("the credit is %d, want 10000", in.credit)
	}
}

// TestInboxBoundsFreeEvents asserts that events which cost no credit are left
// with the plugin once enough of them wait, and are read when there is room.
func TestInboxBoundsFreeEvents(t *testing.T) {
	alive := &proto.SourceEvent{Event: &proto.SourceEvent_Alive{Alive: &proto.Alive{}}}
	for name, e := range map[string]*proto.SourceEvent{"alive": alive, "positions": batchOf(0, 100<<10)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in := testInbox(10_000, 4000)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				recv, sent := endless(e)
				filled := make(chan struct{})
				go func() { defer close(filled); in.fill(ctx, recv) }()
				synctest.Wait() // until fill waits for room
				limit := int64(10_000 + 4000 + inboxSlack)
				if in.held < limit || in.held > limit+int64(maxPositionBytes) {
					t.Errorf("%d bytes are held, the limit is %d", in.held, limit)
				}
				before := *sent
				for range 3 {
					in.pop()
				}
				synctest.Wait()
				if got := *sent - before; got < 2 || got > 3 {
					t.Errorf("%d more events were read after 3 were taken", got)
				}
				cancel()
				<-filled
			})
		})
	}
}

// TestInboxEnd asserts that the end of the stream comes after what was sent.
func TestInboxEnd(t *testing.T) {
	in := testInbox(10_000, 4000)
	n := 0
	in.fill(t.Context(), func() (*proto.SourceEvent, error) {
		if n++; n > 3 {
			return nil, io.EOF
		}
		return batchOf(10, 1), nil
	})
	if events, bytes, err := drain(in); events != 3 || bytes != 30 || !errors.Is(err, io.EOF) {
		t.Errorf("got %d events, %d bytes, %v", events, bytes, err)
	}
}
