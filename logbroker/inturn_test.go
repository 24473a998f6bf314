package logbroker

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
)

// fetchOfOne is a fetch of partition 0 of t from an offset on that waits for a byte.
func fetchOfOne(offset int64, wait time.Duration) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.MaxWaitMillis, req.MinBytes, req.SessionEpoch = 11, 1<<20, int32(wait.Milliseconds()), 1, noSessionEpoch
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = offset, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: "t", Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return req
}

// serveCounted is a broker with a topic that counts the requests of some kinds that it serves.
func serveCounted(t *testing.T, cfg Config, keys ...kmsg.Key) (b *Broker, addr string, served *atomic.Int64) {
	t.Helper()
	b, addr, _ = serveSecured(t, cfg, Listener{})
	served = new(atomic.Int64)
	for _, key := range keys {
		h := b.handlers[int16(key)]
		serve := h.serve
		h.serve = func(b *Broker, r *request) { served.Add(1); serve(b, r) }
		b.handlers[int16(key)] = h // before anybody is connected
	}
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	return b, addr, served
}

// TestRequestsAreServedInTurn: what comes behind a fetch that waits is served when that is
// answered, as by Kafka, however long it takes.
func TestRequestsAreServedInTurn(t *testing.T) {
	cfg := Config{patience: patience{frame: 50 * time.Millisecond}}
	b, addr, served := serveCounted(t, cfg, kmsg.Heartbeat, kmsg.Metadata, kmsg.Produce)
	c := dialWire(t, addr)
	c.send(frameOf(fetchOfOne(0, 1<<30*time.Millisecond)))
	large := &kmsg.MetadataRequest{Version: 9} // more than is read at once
	for range 1000 {
		large.Topics = append(large.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("a topic that there is not")})
	}
	for _, req := range []kmsg.Request{large, kmsg.NewPtrHeartbeatRequest(), writeOne()} {
		c.send(frameOf(req))
	}
	if eventually(200*time.Millisecond, func() bool { return served.Load() > 0 }) {
		t.Errorf("%d requests are served while a fetch before them waits", served.Load())
	}
	if _, err := b.Append("t", 0, oneRecord(-1, -1, -1, false, "v")); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, err := c.receive(); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	if served.Load() != 3 {
		t.Errorf("%d requests are served, want 3", served.Load())
	}
}

// TestAProduceWaitsForAFetch: one that the fetch does not wait for.
func TestAProduceWaitsForAFetch(t *testing.T) {
	b, addr, served := serveCounted(t, Config{}, kmsg.Produce)
	if _, err := b.topics.create("u", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	fetch := fetchOfOne(0, 1<<30*time.Millisecond)
	fetch.Topics[0].Topic = "u"
	c := dialWire(t, addr)
	c.send(frameOf(fetch))
	c.send(frameOf(writeOne()))
	if eventually(200*time.Millisecond, func() bool { return served.Load() > 0 }) {
		t.Error("a produce is served while a fetch before it waits")
	}
	if _, err := b.Append("u", 0, oneRecord(-1, -1, -1, false, "v")); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := c.receive(); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
}

// TestMutedByTheAnswerBefore: a request that came while the one before it was served waits as
// long as that one's answer says.
func TestMutedByTheAnswerBefore(t *testing.T) {
	b, addr, served := serveCounted(t, Config{}, kmsg.Heartbeat)
	set := kmsg.NewPtrAlterClientQuotasRequest()
	set.Version = 1
	set.Entries = []kmsg.AlterClientQuotasRequestEntry{{
		Entity: []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user"}},
		Ops:    []kmsg.AlterClientQuotasRequestEntryOp{{Key: quota.ConsumerBytes, Value: 10}},
	}}
	b.Handle(NewConn("admin", "/here"), set, func(r kmsg.Response) {
		if code := r.(*kmsg.AlterClientQuotasResponse).Entries[0].ErrorCode; code != 0 {
			t.Errorf("limits are refused with code %d", code)
		}
	})
	c := dialWire(t, addr)
	c.send(frameOf(fetchOfOne(0, 1<<30*time.Millisecond)))
	for range 4 {
		c.send(frameOf(kmsg.NewPtrHeartbeatRequest()))
	}
	if _, err := b.Append("t", 0, oneRecord(-1, -1, -1, false, strings.Repeat("v", 400))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.receive(); err != nil {
		t.Fatal(err)
	}
	if eventually(300*time.Millisecond, func() bool { return served.Load() > 0 }) {
		t.Errorf("%d requests of a muted client are served", served.Load())
	}
}

// TestAFetchSeesWhatCameBefore: records that were produced by the request before it.
func TestAFetchSeesWhatCameBefore(t *testing.T) {
	_, addr, _ := serveCounted(t, Config{})
	c := dialWire(t, addr)
	for i := range int64(50) {
		c.send(frameOf(writeOne()))
		c.send(frameOf(fetchOfOne(i, 0)))
		if _, err := c.receive(); err != nil {
			t.Fatal(err)
		}
		answer, err := c.receive()
		if err != nil {
			t.Fatal(err)
		}
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 11
		if err := resp.ReadFrom(answer[4:]); err != nil {
			t.Fatal(err)
		}
		if p := resp.Topics[0].Partitions[0]; p.HighWatermark != i+1 || len(p.RecordBatches) == 0 {
			t.Fatalf("after %d records the high watermark is %d, and %d bytes are read", i+1, p.HighWatermark, len(p.RecordBatches))
		}
	}
}

// TestWhoWaitsForLong: a client that sends more behind a fetch that waits is let go when a
// connection may not be idle any longer; whether it is still there cannot always be seen.
func TestWhoWaitsForLong(t *testing.T) {
	b, addr, _ := serveCounted(t, Config{patience: patience{idle: 100 * time.Millisecond}})
	c := dialWire(t, addr)
	c.send(frameOf(fetchOfOne(0, 1<<30*time.Millisecond)))
	c.send(frameOf(&kmsg.MetadataRequest{Version: 9}))
	if !eventually(10*time.Second, func() bool {
		b.run.mu.Lock()
		defer b.run.mu.Unlock()
		return len(b.run.conns) == 0
	}) {
		t.Error("its connection is still there")
	}
}
