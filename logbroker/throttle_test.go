package logbroker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
)

// reader is a connection whose requests a test hands on one after another; nobody
// writes its answers.
type reader struct {
	w       *workbench
	conn    *Conn
	answers *answers
}

func newReader(w *workbench) *reader {
	there, here := net.Pipe()
	w.t.Cleanup(func() { _, _ = there.Close(), here.Close() })
	return &reader{w, eve(), newAnswers(w.Broker, here, make(chan struct{}))}
}

// serve hands on a request of a client of that name.
func (r *reader) serve(client string, req kmsg.Request) {
	r.w.t.Helper()
	frame := frameOf(req)
	named := binary.BigEndian.AppendUint16(append([]byte{}, frame[:8]...), uint16(len(client)))
	named = append(append(named, client...), frame[11:]...)
	r.answers.waiting.Add(1) // so that none is written by the reader
	defer r.answers.waiting.Add(-1)
	var err error
	if req.Key() == int16(kmsg.Produce) {
		err = r.answers.b.serveProduce(r.conn, bufio.NewReader(bytes.NewReader(named)), len(named), r.answers)
	} else {
		err = r.answers.b.serveFrame(r.conn, named, r.answers, false)
	}
	if err != nil {
		r.w.t.Fatal(err)
	}
}

// answer is the next one.
func (r *reader) answer() kmsg.Response {
	r.w.t.Helper()
	select {
	case resp := <-(<-r.answers.queue).ready:
		return resp
	case <-time.After(10 * time.Second):
		r.w.t.Fatal("no answer")
	}
	return nil
}

// longFetch waits for a byte of partition 0 of t.
func longFetch() *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MinBytes, req.MaxBytes, req.MaxWaitMillis, req.SessionEpoch = 12, 1, 1<<20, 600_000, -1
	ft := kmsg.NewFetchRequestTopic()
	ft.Topic = "t"
	p := kmsg.NewFetchRequestTopicPartition()
	p.CurrentLeaderEpoch, p.PartitionMaxBytes = -1, 1<<20
	ft.Partitions = append(ft.Partitions, p)
	req.Topics = append(req.Topics, ft)
	return req
}

// writeOne writes a record to partition 0 of t.
func writeOne() *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks = 8, -1
	pt := kmsg.NewProduceRequestTopic()
	pt.Topic = "t"
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = oneRecord(-1, -1, -1, false, "v")
	pt.Partitions = append(pt.Partitions, p)
	req.Topics = append(req.Topics, pt)
	return req
}

// fetchedBytes are the bytes of the records that an answer has.
func fetchedBytes(resp kmsg.Response) (n int) {
	f, ok := resp.(*fetchAnswer)
	if !ok {
		return 0
	}
	for i := range f.Topics {
		for j := range f.Topics[i].Partitions {
			n += len(f.Topics[i].Partitions[j].RecordBatches)
		}
	}
	for _, r := range f.ranges {
		n += r.Size()
	}
	return n
}

// TestWhatARequestUsesIsItsClients: what an answer costs is counted for the client that
// the request named, though the connection has named another one since.
func TestWhatARequestUsesIsItsClients(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	first, second := "first", "second"
	w.want(w.setQuota(map[string]*string{"client-id": &second}, quota.ConsumerBytes, 1), nil)
	r := newReader(w)
	r.serve(first, longFetch())
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 9
	r.serve(second, metadata)
	ask[*kmsg.ProduceResponse](w, writeOne())
	resp := r.answer().(*fetchAnswer)
	if fetchedBytes(resp) == 0 || resp.ThrottleMillis != 0 || r.conn.mutedFor(w.now) > 0 {
		t.Errorf("%d bytes read, told to wait %d ms, muted for %v", fetchedBytes(resp), resp.ThrottleMillis, r.conn.mutedFor(w.now))
	}
	r.answer()
	w.want(w.setQuota(map[string]*string{"client-id": &first}, quota.ConsumerBytes, 1), nil)
	r.serve(first, longFetch())
	if resp := r.answer().(*fetchAnswer); resp.ThrottleMillis < 1000 {
		t.Errorf("with a limit it is told to wait %d ms", resp.ThrottleMillis)
	}
}

// TestWorkOfRequestsThatWait: of a request whose answer is waited for, the time of the
// handler's call counts, whether it answers or not; the waiting does not. A fetch over the
// limit is given nothing, as by Kafka.
func TestWorkOfRequestsThatWait(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.RequestTime, 1), nil)
	w.Kill()
	step := time.Duration(0) // how long each look at the clock takes
	w.cfg.Now = func() time.Time { w.now = w.now.Add(step); return w.now }
	w.open()
	for name, test := range map[string]struct {
		req   kmsg.Request
		later bool
	}{"fetch": {longFetch(), true}, "produce": {writeOne(), false}} {
		r := newReader(w)
		step = time.Second
		r.serve("c", test.req)
		step = 0
		muted := r.conn.mutedFor(w.now)
		if muted < time.Second {
			t.Errorf("%s: muted for %v after seconds of work", name, muted)
		}
		if test.later {
			ask[*kmsg.ProduceResponse](w, writeOne())
		}
		r.answer()
		w.now = w.now.Add(24 * time.Hour)
	}
	r := newReader(w)
	fetch := longFetch()
	fetch.Topics[0].Partitions[0].FetchOffset = 2
	r.serve("c", fetch)
	w.now = w.now.Add(time.Minute)
	ask[*kmsg.ProduceResponse](w, writeOne())
	resp := r.answer().(*fetchAnswer)
	if muted := r.conn.mutedFor(w.now); muted > 0 || resp.ThrottleMillis != 0 || fetchedBytes(resp) == 0 {
		t.Errorf("a minute of waiting: %d bytes, muted for %v, told to wait %d ms", fetchedBytes(resp), muted, resp.ThrottleMillis)
	}
	w.now = w.now.Add(24 * time.Hour)
	step = time.Second
	r.serve("c", longFetch())
	step = 0
	resp = r.answer().(*fetchAnswer)
	if muted := r.conn.mutedFor(w.now); resp.ThrottleMillis < 1000 || muted < time.Second || fetchedBytes(resp) != 0 || len(resp.Topics) != 0 {
		t.Errorf("a fetch over the limit is told to wait %d ms, with %d bytes, and muted for %v", resp.ThrottleMillis, fetchedBytes(resp), muted)
	}
	r.serve("c", longFetch())
	if resp := r.answer().(*fetchAnswer); resp.ThrottleMillis == 0 || fetchedBytes(resp) != 0 {
		t.Errorf("again before that it is told to wait %d ms, with %d bytes", resp.ThrottleMillis, fetchedBytes(resp))
	}
	w.now = w.now.Add(24 * time.Hour)

	// Of a session and with a limit of bytes, too: of these it has used none.
	client := "c"
	w.want(w.setQuota(map[string]*string{"client-id": &client}, quota.ConsumerBytes, 1), nil)
	req := longFetch()
	req.SessionEpoch = newSessionEpoch
	step = time.Second
	r.serve("c", req)
	step = 0
	resp = r.answer().(*fetchAnswer)
	if over := w.security.quotas.Over(r.conn.user(), "c", quota.ConsumerBytes, w.now); over > 0 || resp.ThrottleMillis < 1000 || fetchedBytes(resp) != 0 || len(resp.Topics) != 0 {
		t.Errorf("over one of two limits it is told to wait %d ms, with %d bytes, and for %v for them", resp.ThrottleMillis, fetchedBytes(resp), over)
	}
	w.want(w.setQuota(map[string]*string{"client-id": &client}, quota.ConsumerBytes, 1<<40), nil)
	w.now = w.now.Add(24 * time.Hour)
	r.serve("c", longFetch())
	if resp := r.answer().(*fetchAnswer); resp.ThrottleMillis != 0 || fetchedBytes(resp) == 0 {
		t.Errorf("after the wait it is told to wait %d ms, with %d bytes", resp.ThrottleMillis, fetchedBytes(resp))
	}
}

// fetchLimited is a broker with a client that may read so many bytes a second, and writes
// batches of so many.
func fetchLimited(t *testing.T, limit float64, batches ...int) (w *workbench, write func(size int)) {
	t.Helper()
	w = newWorkbench(t)
	w.topic("t", 1)
	client := eve().ClientID
	w.want(w.setQuota(map[string]*string{"client-id": &client}, quota.ConsumerBytes, limit), nil)
	write = func(size int) {
		t.Helper()
		w.want(w.produce(11, nil, 0, oneRecord(-1, -1, -1, false, strings.Repeat("x", size))).ErrorCode, nil)
	}
	for _, size := range batches {
		write(size)
	}
	return w, write
}

// TestFetchesOverTheLimit: a client that fetches more than it may is given nothing, and
// waits, as by Kafka. What it was not given it has not used, and its session has told it
// nothing of it.
func TestFetchesOverTheLimit(t *testing.T) {
	for _, session := range []bool{false, true} {
		w, write := fetchLimited(t, 1000, 2500, 2500, 2500)
		c, id, epoch := eve(), int32(0), int32(noSessionEpoch)
		if session {
			epoch = newSessionEpoch
		}
		fetch := func(offset int64) *kmsg.FetchResponse {
			t.Helper()
			req := sessionFetch("t", id, epoch, 0, 1)
			req.MaxBytes, req.Topics[0].Partitions[0].FetchOffset, req.Topics[0].Partitions[0].PartitionMaxBytes = 1<<20, offset, 1<<20
			resp := w.inSession(c, req)
			w.want(resp.ErrorCode, nil)
			if session != (resp.SessionID != 0) {
				t.Fatalf("session %v: the session is %d", session, resp.SessionID)
			}
			if id = resp.SessionID; session {
				epoch++
			}
			return resp
		}
		if got := fetch(0); got.ThrottleMillis != 0 || c.mutedFor(w.now) > 0 || w.countBatches(got.Topics[0].Partitions[0].RecordBatches) != 3 {
			t.Fatalf("session %v: within the limit it is told to wait %d ms, and of %d topics", session, got.ThrottleMillis, len(got.Topics))
		}
		write(2500)
		got := fetch(3)
		wait := time.Duration(got.ThrottleMillis) * time.Millisecond
		if len(got.Topics) != 0 || wait < 100*time.Millisecond || c.mutedFor(w.now) != wait {
			t.Fatalf("session %v: over the limit it is told of %d topics and to wait %v, muted for %v", session, len(got.Topics), wait, c.mutedFor(w.now))
		}
		w.now = w.now.Add(wait)
		if got := fetch(3); got.ThrottleMillis != 0 || len(got.Topics) != 1 || w.countBatches(got.Topics[0].Partitions[0].RecordBatches) != 1 {
			t.Errorf("session %v: after the wait it is told to wait %d ms more, and of %d topics", session, got.ThrottleMillis, len(got.Topics))
		}
	}
}

// TestNoMoreIsReadThanMayBe: a fetch is given what its client may read within all windows
// at most, of which it need not wait for more; one batch that is larger all the same, to a
// client that has waited for it.
func TestNoMoreIsReadThanMayBe(t *testing.T) {
	w, write := fetchLimited(t, 300, 1000, 1000, 1000, 1000)
	c := eve()
	fetch := func(offset int64) *kmsg.FetchResponse {
		t.Helper()
		req := longFetch()
		req.MinBytes, req.Topics[0].Partitions[0].FetchOffset = 1<<20, offset
		resp := w.inSession(c, req)
		if resp == nil {
			t.Fatalf("from %d on it waits for more than it may have", offset)
		}
		return resp
	}
	if got := fetch(0); got.ThrottleMillis != 0 || w.countBatches(got.Topics[0].Partitions[0].RecordBatches) != 2 {
		t.Errorf("of more than it may have: told to wait %d ms, and of %d topics", got.ThrottleMillis, len(got.Topics))
	}
	write(20_000)
	for range 2 {
		got := fetch(4)
		if got.ThrottleMillis < 50_000 || len(got.Topics) != 1 || w.countBatches(got.Topics[0].Partitions[0].RecordBatches) != 1 {
			t.Errorf("of a large one: told to wait %d ms, and of %d topics", got.ThrottleMillis, len(got.Topics))
		}
		for over := true; over; over = w.security.quotas.Over(c.user(), c.ClientID, quota.ConsumerBytes, w.now) > 0 {
			if got := fetch(4); got.ThrottleMillis == 0 || len(got.Topics) != 0 {
				t.Fatalf("over the limit: told to wait %d ms, and of %d topics", got.ThrottleMillis, len(got.Topics))
			}
			w.now = w.now.Add(5 * time.Second)
		}
	}
}
