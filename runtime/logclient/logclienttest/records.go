package logclienttest

import (
	"fmt"
	"slices"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// record is a record as the suite compares it.
type record struct {
	offset    int64
	timestamp int64
	key       string
	value     string
}

// firstTimestamp is that of the first record of every batch made by batch: an older one
// would be removed by the retention of a broker, under a test that takes long.
var firstTimestamp = time.Now().Add(-time.Hour).UnixMilli()

// batch makes a record batch of values, a millisecond apart.
func batch(values ...string) recordbatch.Batch {
	var b recordbatch.Builder
	for i, v := range values {
		b.Append(firstTimestamp+int64(i), []byte("k"), []byte(v), nil)
	}
	return b.Batch()
}

// numbered lists n values with a prefix.
func numbered(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(prefix, i)
	}
	return out
}

// writer opens a transactional writer that is closed at the end.
func (f *fixture) writer(id string) logclient.Writer {
	f.Helper()
	w, err := f.log.NewWriter(logclient.WriterConfig{TransactionalID: id})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := w.Close(); err != nil {
			f.Errorf("close the writer: %v", err)
		}
	})
	return w
}

// append appends a batch of values.
func (f *fixture) append(t logclient.Transaction, tp logclient.TopicPartition, values ...string) {
	f.Helper()
	if err := t.Append(tp, batch(values...)); err != nil {
		f.Fatalf("append to %v: %v", tp, err)
	}
}

// commit commits and wants success.
func (f *fixture) commit(t logclient.Transaction, positions ...logclient.Position) logclient.CommitResult {
	f.Helper()
	return wait(f, t.Commit(positions))
}

// put writes values in a transaction of their own.
func (f *fixture) put(tp logclient.TopicPartition, values ...string) {
	f.Helper()
	w := f.writer(f.name("put" + fmt.Sprint(fixtures.Add(1))))
	f.append(w, tp, values...)
	f.commit(w)
}

// reading collects what a Fetcher delivers.
type reading struct {
	f       *fixture
	fetcher logclient.Fetcher
	next    map[logclient.TopicPartition]int64
	end     map[logclient.TopicPartition]int64
	epoch   map[logclient.TopicPartition]int32
	records map[logclient.TopicPartition][]record
	events  []logclient.Event
	bytes   int // of the last Poll
	due     time.Time
	self    stepped // what is polled: the reading, or the peer around it
}

func (f *fixture) collect(fetcher logclient.Fetcher) *reading {
	r := &reading{
		f: f, fetcher: fetcher, next: map[logclient.TopicPartition]int64{}, end: map[logclient.TopicPartition]int64{},
		epoch: map[logclient.TopicPartition]int32{}, records: map[logclient.TopicPartition][]record{},
	}
	r.self = r
	return r
}

// reader opens a reader at positions, closed at the end.
func (f *fixture) reader(uncommitted bool, positions ...logclient.Position) *reading {
	f.Helper()
	return f.readerOf(logclient.ReaderConfig{Positions: positions, ReadUncommitted: uncommitted})
}

func (f *fixture) readerOf(cfg logclient.ReaderConfig) *reading {
	f.Helper()
	r, err := f.log.NewReader(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := r.Close(); err != nil {
			f.Errorf("close the reader: %v", err)
		}
	})
	c := f.collect(r)
	for _, p := range cfg.Positions {
		c.next[p.TopicPartition] = p.Offset
	}
	return c
}

// seek moves a partition of the fetcher.
func (r *reading) seek(p logclient.Position) {
	r.next[p.TopicPartition] = p.Offset
	r.fetcher.Seek(p)
}

// poll polls once and takes what comes.
func (r *reading) poll() logclient.Poll {
	r.f.Helper()
	p := r.fetcher.Poll(time.Now())
	r.due = p.NextDue
	r.events = append(r.events, p.Events...)
	r.bytes = 0
	for _, b := range p.Batches {
		r.bytes += len(b.Raw)
		r.take(b)
	}
	return p
}

func (r *reading) take(b logclient.Batch) {
	r.f.Helper()
	from := r.next[b.TopicPartition]
	if b.Next < from {
		r.f.Fatalf("%v: a batch that ends at %d after position %d", b.TopicPartition, b.Next, from)
	}
	for _, rec := range decode(r.f, b) {
		if rec.offset < from {
			continue // a batch is handed over whole, also from its middle
		}
		if rec.offset >= b.Next {
			r.f.Fatalf("%v: record %d in a batch that ends at %d", b.TopicPartition, rec.offset, b.Next)
		}
		r.records[b.TopicPartition] = append(r.records[b.TopicPartition], rec)
	}
	if b.End < b.Next {
		r.f.Fatalf("%v: a batch up to %d of a partition that ends at %d", b.TopicPartition, b.Next, b.End)
	}
	r.next[b.TopicPartition], r.end[b.TopicPartition] = b.Next, b.End
	if b.LeaderEpoch >= 0 {
		r.epoch[b.TopicPartition] = b.LeaderEpoch
	}
}

func decode(f *fixture, b logclient.Batch) []record {
	f.Helper()
	var out []record
	add := func(r recordbatch.Record) {
		out = append(out, record{r.Offset, r.Timestamp, string(r.Key), string(r.Value)})
	}
	for _, r := range b.Records {
		add(r)
	}
	if b.Raw == nil {
		return out
	}
	if b.Raw.IsControl() {
		f.Fatalf("%v: a control batch at %d is handed over", b.TopicPartition, b.Raw.BaseOffset())
	}
	var reader recordbatch.Reader
	if err := reader.Reset(b.Raw); err != nil {
		f.Fatal(err)
	}
	for {
		var rec recordbatch.Record
		ok, err := reader.Next(&rec)
		if err != nil {
			f.Fatal(err)
		}
		if !ok {
			return out
		}
		add(rec)
	}
}

// values lists the values read of a partition.
func (r *reading) values(tp logclient.TopicPartition) []string {
	var out []string
	for _, rec := range r.records[tp] {
		out = append(out, rec.value)
	}
	return out
}

// want reads until the position of a partition has reached offset and compares
// the values.
func (r *reading) want(tp logclient.TopicPartition, offset int64, values ...string) {
	r.f.Helper()
	until(r.f, func() bool { return r.next[tp] >= offset }, r.self)
	if got := r.values(tp); !slices.Equal(got, values) {
		r.f.Fatalf("%v: read %q, want %q", tp, got, values)
	}
}
