package logbroker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/commitlog"
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
// handler's call counts, whether it answers or not; the waiting does not.
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
	if resp := r.answer().(*fetchAnswer); resp.ThrottleMillis < 1000 {
		t.Errorf("a fetch that is answered by the call is told to wait %d ms", resp.ThrottleMillis)
	}
}

// TestLongWaitsAreNotCutShort: a limit that asks for less does not end the wait for
// another.
func TestLongWaitsAreNotCutShort(t *testing.T) {
	now := time.Now()
	c := eve()
	for _, wait := range []time.Duration{10 * time.Second, time.Second, -time.Second, 0} {
		if c.throttle(nil, wait, now); c.mutedFor(now) != 10*time.Second {
			t.Errorf("muted for %v after another %v", c.mutedFor(now), wait)
		}
	}
}

// TestRecordsOfAFileCount: what is sent from a file, past the broker's memory, is counted
// as what was read.
func TestRecordsOfAFileCount(t *testing.T) {
	log, err := commitlog.Open(commitlog.Config{FS: vfs.Default, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	batch := oneRecord(-1, -1, -1, false, strings.Repeat("v", 1000))
	if _, err := log.Append(batch, nil); err != nil {
		t.Fatal(err)
	}
	r, ok := log.Locate(0, log.End(), 1<<20, 1)
	if !ok {
		t.Fatal("not located")
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Topics = []kmsg.FetchResponseTopic{{Partitions: []kmsg.FetchResponseTopicPartition{{RecordBatches: make([]byte, 7)}, {}}}}
	if n := fetchedBytes(&fetchAnswer{FetchResponse: resp, ranges: []commitlog.Range{{}, r}}); n != len(batch)+7 {
		t.Errorf("%d bytes, want %d", n, len(batch)+7)
	}
}

// TestTheProgramItselfHasNoLimit: a caller in this process makes as many topics as it
// wants, whatever the limit of clients without a name.
func TestTheProgramItselfHasNoLimit(t *testing.T) {
	w := newWorkbench(t)
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.Mutations, 1), nil)
	for i := range 50 {
		w.topic(fmt.Sprint("t", i), 10)
	}
}
