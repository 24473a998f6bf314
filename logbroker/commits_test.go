package logbroker

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
)

// TestCommitsKeepTheirOrder: of commits that are under way at once the last that was
// sent holds, and what was acknowledged is there after a SIGKILL.
func TestCommitsKeepTheirOrder(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.topics.create("t", 1, map[string]string{}, false); err != nil {
		t.Fatal(err)
	}
	const n = 500
	conn := NewConn("c", "/c")
	var left sync.WaitGroup
	var last atomic.Int64 // acknowledged
	left.Add(n)
	for i := range int64(n) {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 8, "g", -1
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Offset: i}}}}
		b.Handle(conn, req, func(r kmsg.Response) {
			defer left.Done()
			if code := r.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
				t.Errorf("commit %d: error %d", i, code)
			}
			if before := last.Swap(i); before > i {
				t.Errorf("commit %d is acknowledged after %d", i, before)
			}
			if o, ok, err := b.meta.Offset("g", "t", 0); err != nil || !ok || o.Offset < i {
				t.Errorf("commit %d is acknowledged, and %d is there, %v", i, o.Offset, err)
			}
		})
	}
	left.Wait()
	b.Kill()
	if b, err = Open(Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if o, ok, err := b.meta.Offset("g", "t", 0); err != nil || !ok || o.Offset != n-1 {
		t.Errorf("offset %d after a SIGKILL, want %d, %v", o.Offset, n-1, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestEveryLimit: who writes or works more than it may is told to wait and is
// not heard meanwhile; who connects too often is let go.
func TestEveryLimit(t *testing.T) {
	client := "c"
	produce := &kmsg.ProduceResponse{Version: 9}
	metadata := &kmsg.MetadataResponse{Version: 9}
	for limit, test := range map[string]struct {
		key    kmsg.Key
		size   int
		worked time.Duration
		resp   kmsg.Response
		told   *int32
	}{
		quota.ProducerBytes: {kmsg.Produce, 5000, 0, produce, &produce.ThrottleMillis},
		quota.RequestTime:   {kmsg.Metadata, 100, 30 * time.Second, metadata, &metadata.ThrottleMillis},
	} {
		w := newWorkbench(t)
		c := eve()
		use := func(limited bool) {
			t.Helper()
			*test.told = 0
			w.metered(c, &usage{client: c.ClientID, key: int16(test.key), size: test.size, begun: w.now.Add(-test.worked)}, test.resp)
			if wait := c.mutedFor(w.now); limited != (*test.told > 0) || limited != (wait > 0) || wait > 0 && wait.Milliseconds() != int64(*test.told) {
				t.Errorf("%s: told to wait %d ms, and muted for %v; limited: %v", limit, *test.told, wait, limited)
			}
		}
		use(false)
		w.want(w.setQuota(map[string]*string{"client-id": &client}, limit, 100), nil)
		use(true)
		c = eve()
		c.ClientID = "another"
		use(false)
	}
	w := newWorkbench(t)
	ip := "pipe"
	w.want(w.setQuota(map[string]*string{"ip": nil}, quota.Connections, 2), nil)
	taken := 0
	for range 25 {
		if wait := w.security.quotas.UseIP(ip, quota.Connections, 1, w.now); wait == 0 {
			taken++
		}
	}
	if taken != 20 {
		t.Errorf("%d connections at once, want 20", taken)
	}
	there, here := net.Pipe()
	defer func() { _, _ = there.Close(), here.Close() }()
	w.want(w.setQuota(map[string]*string{"ip": nil}, quota.Connections, 1), nil)
	if w.security.quotas.UseIP("", quota.Connections, 10, w.now) != 0 { // which is where a pipe is
		t.Error("the first connections are over the limit")
	}
	if w.addConn(here, &listener{}) {
		t.Error("a connection over the limit is taken")
	}
}
