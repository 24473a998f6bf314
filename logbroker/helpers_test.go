package logbroker

import (
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// workbench is a Synchronous broker on a file system in memory, with a clock that
// the test moves.
type workbench struct {
	*Broker
	t   testing.TB
	fs  *vfs.MemFS
	cfg Config
	now time.Time
}

func newWorkbench(t testing.TB) *workbench {
	t.Helper()
	w := &workbench{t: t, fs: vfs.NewCrashableMem(), now: time.UnixMilli(1_700_000_000_000)}
	w.cfg = Config{
		Dir: "data", FS: w.fs, Synchronous: true,
		Now: func() time.Time { return w.now }, BootID: func() string { return "boot-1" },
	}
	w.open()
	t.Cleanup(func() { w.Kill() })
	return w
}

func (w *workbench) open() {
	w.t.Helper()
	b, err := Open(w.cfg)
	if err != nil {
		w.t.Fatalf("open: %v", err)
	}
	w.Broker = b
}

// restart kills the broker as a SIGKILL does and opens it again.
func (w *workbench) restart() {
	w.t.Helper()
	w.Kill()
	w.open()
}

// losePower goes on with what is synced and nothing else.
func (w *workbench) losePower(boot string) {
	w.t.Helper()
	w.cfg.FS = w.fs.CrashClone(vfs.CrashCloneCfg{})
	w.Kill()
	w.fs = w.cfg.FS.(*vfs.MemFS)
	w.cfg.BootID = func() string { return boot }
	w.open()
}

// pass moves the clock and runs what is due.
func (w *workbench) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.Tick(w.now)
}

// ask sends a request and returns its answer, which must have come.
func ask[R kmsg.Response](w *workbench, req kmsg.Request) R {
	w.t.Helper()
	var resp R
	answers := 0
	w.Handle(NewConn("test", "/test"), req, func(r kmsg.Response) {
		answers++
		resp = r.(R)
	})
	if answers != 1 {
		w.t.Fatalf("%s version %d: %d answers, want 1", kmsg.NameForKey(req.Key()), req.GetVersion(), answers)
	}
	return resp
}

// want fails unless the error code is that of want; nil is none.
func (w *workbench) want(code int16, want *kerr.Error) {
	w.t.Helper()
	if want == nil {
		want = &kerr.Error{}
	}
	if code != want.Code {
		w.t.Fatalf("error %v, want %v", kerr.ErrorForCode(code), kerr.ErrorForCode(want.Code))
	}
}

func (w *workbench) topic(name string, partitions int32) {
	w.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	req.Topics = append(req.Topics, t)
	w.want(ask[*kmsg.CreateTopicsResponse](w, req).Topics[0].ErrorCode, nil)
}

// initID takes a transactional id over. Where that aborts a transaction it asks once more.
func (w *workbench) initID(id string) (pid int64, epoch int16) {
	w.t.Helper()
	resp := w.initAs(id, -1, -1)
	if resp.ErrorCode == kerr.ConcurrentTransactions.Code {
		resp = w.initAs(id, -1, -1)
	}
	w.want(resp.ErrorCode, nil)
	return resp.ProducerID, resp.ProducerEpoch
}

// initAs asks once for the producer of a transactional id, as who holds one, or -1 and -1.
func (w *workbench) initAs(id string, pid int64, epoch int16) *kmsg.InitProducerIDResponse {
	w.t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 5, &id, 60_000, pid, epoch
	return ask[*kmsg.InitProducerIDResponse](w, req)
}

// unhurried is when a broker with a real clock looks for old records for the first time:
// those of tests are, and a slow machine would see them go.
const unhurried = time.Hour

// oneRecord is a batch of one record.
func oneRecord(pid int64, epoch int16, seq int32, transactional bool, value string) recordbatch.Batch {
	var b recordbatch.Builder
	b.Append(1_700_000_000_000, nil, []byte(value), nil)
	batch := b.Batch()
	batch.SetProducer(pid, epoch, seq, transactional)
	batch.SetCRC()
	return batch
}

// produce sends a batch to topic "t" and returns the answer for it.
func (w *workbench) produce(version int16, id *string, partition int32, batch recordbatch.Batch) kmsg.ProduceResponseTopicPartition {
	w.t.Helper()
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TransactionID = version, -1, id
	t := kmsg.NewProduceRequestTopic()
	t.Topic = "t"
	if found := w.topics.byName("t"); found != nil {
		t.TopicID = found.id
	}
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return ask[*kmsg.ProduceResponse](w, req).Topics[0].Partitions[0]
}

func (w *workbench) endTxn(version int16, id string, pid int64, epoch int16, commit bool) *kmsg.EndTxnResponse {
	w.t.Helper()
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = version, id, pid, epoch, commit
	return ask[*kmsg.EndTxnResponse](w, req)
}

// values are what a reader of topic "t" sees.
func (w *workbench) values(partition int32, committed bool) (out []string) {
	w.t.Helper()
	for offset := int64(0); ; {
		res, err := w.Fetch("t", partition, offset, committed, 1<<20, nil)
		if err != nil {
			w.t.Fatalf("fetch: %v", err)
		}
		if len(res.Batches) == 0 {
			return out
		}
		var values []string
		values, offset = w.valuesOf(res, committed)
		out = append(out, values...)
	}
}

// valuesOf are those of one answer, and the offset after it.
func (w *workbench) valuesOf(res FetchResult, committed bool) (out []string, next int64) {
	w.t.Helper()
	skip := map[int64]bool{}
	aborted := res.Aborted
	var rd recordbatch.Reader
	var rec recordbatch.Record
	for rest := res.Batches; len(rest) > 0; {
		b, after, err := recordbatch.Split(rest)
		if err != nil {
			w.t.Fatal(err)
		}
		rest, next = after, b.NextOffset()
		for len(aborted) > 0 && aborted[0].FirstOffset <= b.BaseOffset() {
			skip[aborted[0].ProducerID] = true
			aborted = aborted[1:]
		}
		if b.IsControl() {
			delete(skip, b.ProducerID())
			continue
		}
		if committed && skip[b.ProducerID()] && b.IsTransactional() {
			continue
		}
		if err := rd.Reset(b); err != nil {
			w.t.Fatal(err)
		}
		for {
			ok, err := rd.Next(&rec)
			if err != nil {
				w.t.Fatal(err)
			}
			if !ok {
				break
			}
			out = append(out, string(rec.Value))
		}
	}
	return out, next
}

// eventually waits until a condition holds, and tells whether it did.
func eventually(patience time.Duration, holds func() bool) bool {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.After(patience); !holds(); {
		select {
		case <-end:
			return false
		case <-look.C:
		}
	}
	return true
}

// hear starts the broker again; what it logs from then on is returned.
func (w *workbench) hear() *syncBuffer {
	w.Kill()
	log := &syncBuffer{}
	w.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	w.open()
	return log
}

// breakableMeta starts the broker again on a disk that refuses to write its database
// while what is returned is on.
func (w *workbench) breakableMeta() *errorfs.Toggle {
	w.Kill()
	broken := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.Contains(op.Path, "/meta/") {
			return syscall.EIO
		}
		return nil
	})}
	w.cfg.FS = errorfs.Wrap(w.fs, broken)
	w.open()
	return broken
}
