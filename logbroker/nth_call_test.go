package logbroker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// faulty is a broker on a disk of which a call fails, and what it acknowledged.
type faulty struct {
	*workbench
	values  []string // acknowledged, outside transactions or committed
	never   []string // of transactions that were never asked to be committed
	topics  map[string]bool
	backups []string
	refused []int16
}

// brokenDisk fails the n-th call, or all from the n-th on.
type brokenDisk struct {
	at    int
	stays bool

	mu    sync.Mutex // guards what follows; Pebble calls from goroutines of its own
	calls int
	hit   string // the first call that failed
}

func (d *brokenDisk) fail(op errorfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	if d.calls < d.at || d.calls > d.at && !d.stays {
		return nil
	}
	if d.hit == "" {
		d.hit = fmt.Sprint(op.Kind, " ", op.Path)
	}
	return syscall.EIO
}

// tell sends a request; an answer that is missing, because the broker has ended,
// is nil.
func tell[R kmsg.Response](f *faulty, req kmsg.Request) (resp R) {
	f.Handle(NewConn("test", "/test"), req, func(r kmsg.Response) { resp = r.(R) })
	return resp
}

// ok takes note of an error code and tells whether there was none.
func (f *faulty) ok(code int16) bool {
	if code != 0 && !slices.Contains(f.refused, code) {
		f.refused = append(f.refused, code)
	}
	return code == 0
}

func (f *faulty) send(topic string, id *string, partition int32, batch recordbatch.Batch) bool {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TransactionID = 12, -1, id
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, p.Partition, p.Records = topic, partition, batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return f.ok(tell[*kmsg.ProduceResponse](f, req).Topics[0].Partitions[0].ErrorCode)
}

func (f *faulty) create(name string, configs map[string]string) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, 2, 1
	for k, v := range configs {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = k, &v
		t.Configs = append(t.Configs, c)
	}
	req.Topics = append(req.Topics, t)
	delete(f.topics, name)
	if f.ok(tell[*kmsg.CreateTopicsResponse](f, req).Topics[0].ErrorCode) {
		f.topics[name] = true
	}
}

func (f *faulty) drop(name string) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TopicNames = 5, []string{name}
	delete(f.topics, name)
	if f.ok(tell[*kmsg.DeleteTopicsResponse](f, req).Topics[0].ErrorCode) {
		f.topics[name] = false
	}
}

// transaction writes to two partitions and ends as commit says.
func (f *faulty) transaction(id, value string, commit bool) {
	init := kmsg.NewPtrInitProducerIDRequest()
	init.Version, init.TransactionalID, init.TransactionTimeoutMillis, init.ProducerID, init.ProducerEpoch = 5, &id, 60_000, -1, -1
	who := tell[*kmsg.InitProducerIDResponse](f, init)
	if !f.ok(who.ErrorCode) {
		return
	}
	values := []string{value + "/0", value + "/1"}
	for p, v := range values {
		if !f.send("t", &id, int32(p), oneRecord(who.ProducerID, who.ProducerEpoch, 0, true, v)) {
			f.never = append(f.never, values...)
			return
		}
	}
	end := kmsg.NewPtrEndTxnRequest()
	end.Version, end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = 5, id, who.ProducerID, who.ProducerEpoch, commit
	switch ok := f.ok(tell[*kmsg.EndTxnResponse](f, end).ErrorCode); {
	case !commit:
		f.never = append(f.never, values...)
	case ok:
		f.values = append(f.values, values...)
	}
}

// round does a bit of everything.
func (f *faulty) round(n int) {
	f.create(fmt.Sprint("new-", n), nil)
	for i := range 4 {
		if v := fmt.Sprintf("%d/%d", n, i); f.send("t", nil, int32(i%2), oneRecord(-1, -1, -1, false, v)) {
			f.values = append(f.values, v)
		}
		_ = f.send("c", nil, 0, f.keyed(f.now, fmt.Sprintf("key-%d=%d", i%2, n)))
	}
	f.transaction("id-0", fmt.Sprintf("txn-%d-0", n), true)
	f.transaction("id-1", fmt.Sprintf("txn-%d-1", n), n%2 == 0)
	f.now = f.now.Add(time.Second)
	f.Tick(f.now)
	f.Clean()
	for p := range int32(2) {
		_, _ = f.Fetch("t", p, 0, true, 1000, nil)
	}
	dir := fmt.Sprint("backup-", n)
	if _, err := f.Backup(dir); err == nil {
		f.backups = append(f.backups, dir)
	}
	if n > 0 {
		f.drop(fmt.Sprint("new-", n-1))
	}
}

// live runs the workload on the disk, starting again where the broker gave up, and
// tells why it did.
func (f *faulty) live(disk *brokenDisk) (reasons []error) {
	for n := range 3 {
		f.cfg.FS = errorfs.Wrap(f.fs, errorfs.InjectorFunc(disk.fail))
		b, err := Open(f.cfg)
		if err != nil {
			reasons = append(reasons, err)
			f.fs = f.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
			continue
		}
		f.Broker = b
		if n == 0 {
			f.create("t", nil)
			f.create("c", map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0", "segment.ms": "1000"})
		}
		f.round(2 * n)
		f.round(2*n + 1)
		reasons = append(reasons, b.failure())
		if n == 1 {
			_ = b.Close()
		} else {
			b.Kill()
		}
		f.fs = f.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	}
	return reasons
}

// check starts a broker over what is left and compares.
func (f *faulty) check(dir string, fs *vfs.MemFS, boot string) error {
	cfg := f.cfg
	cfg.Dir, cfg.FS, cfg.BootID = dir, fs, func() string { return boot }
	b, err := Open(cfg)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer b.Kill()
	f.Broker = b
	if dir != f.cfg.Dir {
		return nil // a backup of some moment: it starts
	}
	for name, there := range f.topics {
		if found := b.topics.byName(name) != nil; found != there {
			return fmt.Errorf("topic %s: there %t, acknowledged %t", name, found, there)
		}
	}
	seen := map[string]int{}
	if b.topics.byName("t") != nil {
		for p := range int32(2) {
			for _, v := range f.workbench.values(p, true) {
				seen[v]++
			}
		}
	}
	for _, v := range f.values {
		if seen[v] != 1 {
			return fmt.Errorf("%s was acknowledged and is there %d times", v, seen[v])
		}
	}
	for _, v := range f.never {
		if seen[v] > 0 {
			return fmt.Errorf("%s was not committed and is there", v)
		}
	}
	for v, n := range seen {
		if half, _, ok := strings.Cut(v, "/"); n > 1 || ok && strings.HasPrefix(v, "txn") && seen[half+"/0"] != seen[half+"/1"] {
			return fmt.Errorf("%s is there %d times, and its transaction is not whole", v, n)
		}
	}
	return nil
}

// storageErrors are what a client may be told while the disk fails.
var storageErrors = []*kerr.Error{kerr.KafkaStorageError, kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator, kerr.ConcurrentTransactions, kerr.UnknownTopicOrPartition, kerr.UnknownServerError}

// TestEveryCallFails lets the n-th call of the file system fail, of any kind, once or
// with all after it, while the broker does a bit of everything. It says why it gave
// up, if it did, loses nothing that it acknowledged, and starts again on what is left
// after a SIGKILL and after a power loss; so do its backups.
func TestEveryCallFails(t *testing.T) {
	stride := 41
	if testing.Short() {
		stride = 401
	}
	if seeds(t, 0) > 0 {
		stride = 1
	}
	workers := runtime.GOMAXPROCS(0)
	for n := range workers {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			at := 1 + n*stride
			for failAt(t, at, false) && failAt(t, at, true) {
				at += workers * stride
			}
			t.Logf("the workload makes fewer than %d calls", at)
		})
	}
}

// failAt lets a call fail, alone or with all after it, and tells whether there is one.
func failAt(t *testing.T, at int, stays bool) bool {
	t.Helper()
	disk := &brokenDisk{at: at, stays: stays}
	f := newFaulty(t)
	reasons := f.live(disk)
	where := fmt.Sprintf("call %d (%s), stays %t", at, disk.hit, stays)
	for _, err := range reasons {
		if err != nil && !errors.Is(err, syscall.EIO) && !strings.Contains(err.Error(), syscall.EIO.Error()) {
			t.Fatalf("%s: the broker gave up and said %v", where, err)
		}
	}
	for _, code := range f.refused {
		if err := kerr.ErrorForCode(code); !slices.ContainsFunc(storageErrors, func(e *kerr.Error) bool { return e.Code == code }) {
			t.Fatalf("%s: a client was told %v", where, err)
		}
	}
	for boot, percent := range map[string]int{"boot-1": 100, "boot-2": 0} {
		clone := func() *vfs.MemFS {
			return f.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(1, 1))})
		}
		for _, dir := range append(f.backups, f.cfg.Dir) {
			if err := f.check(dir, clone(), boot); err != nil {
				t.Fatalf("%s: %s with %d %% of the unsynced data: %v", where, dir, percent, err)
			}
		}
	}
	return disk.hit != ""
}

func newFaulty(t *testing.T) *faulty {
	w := &workbench{t: t, fs: vfs.NewCrashableMem(), now: time.UnixMilli(1_700_000_000_000)}
	w.cfg = Config{
		Dir: "data", Synchronous: true, Now: func() time.Time { return w.now }, BootID: func() string { return "boot-1" },
		SegmentBytes: 1000, Limits: Limits{RecoveryBytes: 500},
	}
	return &faulty{workbench: w, topics: map[string]bool{}}
}

// TestTheFirstFailureStays: what a broker gave up for is read by other goroutines from
// the moment on that it is set, and a mark that cannot be written does not change it.
func TestTheFirstFailureStays(t *testing.T) {
	f := newFaulty(t)
	var told error
	f.cfg.OnFatal = func(err error) { told = err }
	var broken atomic.Pointer[Broker]
	seen := make(chan error, 1)
	f.cfg.FS = errorfs.Wrap(f.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		b := broken.Load()
		if b == nil || !strings.Contains(op.Path, suspectFile) {
			return nil
		}
		select {
		case seen <- nil:
			go func() { seen <- b.failure() }()
		default:
		}
		return syscall.EROFS
	}))
	b, err := Open(f.cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Kill()
	broken.Store(b)
	b.fatal(syscall.EIO)
	<-seen
	if err := <-seen; !errors.Is(err, syscall.EIO) || b.failure() != syscall.EIO {
		t.Errorf("it failed with %v, then %v", err, b.failure())
	}
	if !errors.Is(told, syscall.EIO) || !errors.Is(told, syscall.EROFS) {
		t.Errorf("its owner was told %v, not that the mark could not be written", told)
	}
}
