package logbroker

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
	"github.com/levada/levada/logbroker/commitlog"
)

// A backup that is made while transactions go on, each of which writes a record and
// commits how many it has written, is a state that was: what it holds of committed
// records is what its offsets say, also after it was recovered; and the broker goes
// on as if nothing had been.
func TestBackupIsOneMoment(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Dir: filepath.Join(dir, "data"), SegmentBytes: 4000, Limits: Limits{RecoveryBytes: 20_000}}
	b, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.topics.create("t", 3, nil, false); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var work sync.WaitGroup
	for p := range int32(3) {
		work.Go(func() {
			if err := countInTransactions(b, p, stop); err != nil {
				t.Error(err)
			}
		})
	}
	const backups = 8
	for i := range backups {
		for b.topics.byName("t").parts()[0].log.End() < int64(20*(i+1)) {
			if b.failure() != nil {
				t.Fatal(b.failure())
			}
		}
		info, err := b.Backup(filepath.Join(dir, fmt.Sprint("backup-", i)))
		if err != nil {
			t.Fatal(err)
		}
		if info.Partitions != 3 || info.Ends["t-0"] < int64(20*(i+1)) {
			t.Fatalf("backup %+v", info)
		}
	}
	if _, err := b.Backup(filepath.Join(dir, "backup-0")); err == nil || !strings.Contains(err.Error(), "already") {
		t.Fatalf("backup over a backup: %v", err)
	}
	close(stop)
	work.Wait()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	last := make([]int64, 3)
	for i := range backups {
		checkBackup(t, filepath.Join(dir, fmt.Sprint("backup-", i)), last)
	}
	checkBackup(t, cfg.Dir, last)
}

// A start that is killed before it wrote anything leaves a database with nothing to
// replay; a backup of the run after it can be started all the same.
func TestBackupAfterAStartThatWroteNothing(t *testing.T) {
	w := newWorkbench(t)
	for call := 1; ; call++ {
		disk := &brokenDisk{at: call, stays: true}
		cfg := w.cfg
		fs := vfs.NewCrashableMem()
		cfg.FS = errorfs.Wrap(fs, errorfs.InjectorFunc(disk.fail))
		if b, err := Open(cfg); err == nil {
			b.Kill()
			return
		}
		cfg.FS = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		b, err := Open(cfg)
		if err != nil {
			t.Fatalf("call %d: %v", call, err)
		}
		if _, err := b.Backup("backup"); err != nil {
			t.Fatalf("call %d: %v", call, err)
		}
		b.Kill()
		cfg.Dir = "backup"
		if b, err = Open(cfg); err != nil {
			t.Fatalf("killed at call %d (%s): the backup after it: %v", call, disk.hit, err)
		}
		b.Kill()
	}
}

// A backup that lacks a file of a log or has one more, or in which partitions have
// changed places, is noticed.
func TestIncompleteBackupIsNoticed(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.SegmentBytes = 300
	w.open()
	w.topic("t", 2)
	for i := range 20 {
		w.want(w.produce(9, nil, int32(i%2), oneRecord(-1, -1, -1, false, fmt.Sprint("value ", i))).ErrorCode, nil)
	}
	w.Clean() // seals
	if _, err := w.Backup("backup"); err != nil {
		t.Fatal(err)
	}
	if err := CheckBackup(w.fs, "backup"); err != nil {
		t.Fatal(err)
	}
	logs := "backup/" + logsDir
	move := func(from, to string) {
		t.Helper()
		if err := w.fs.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	noticed := func(what string) {
		t.Helper()
		if CheckBackup(w.fs, "backup") == nil {
			t.Errorf("%s, and nobody noticed", what)
		}
	}
	seals := 0
	for _, path := range []string{logs, logs + "/t-0", logs + "/t-1"} {
		names, err := w.fs.List(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".seal") {
				seals++
			}
			move(path+"/"+name, "aside")
			noticed(path + "/" + name + " is missing")
			move("aside", path+"/"+name)
		}
	}
	if seals == 0 {
		t.Error("no segment was sealed")
	}
	move(logs+"/t-0", "aside")
	move(logs+"/t-1", logs+"/t-0")
	move("aside", logs+"/t-1")
	noticed("two partitions have changed places")
	move(logs+"/t-0", "aside")
	move(logs+"/t-1", logs+"/t-0")
	move("aside", logs+"/t-1")
	if err := w.fs.MkdirAll(logs+"/u-0", 0o755); err != nil {
		t.Fatal(err)
	}
	noticed("there is a foreign partition")
}

// Any byte of the database of a backup, or of what is known of it, that is changed,
// and any file that is missing, is noticed. Without the sums the database would start
// without its last rows.
func TestChangedBackupIsNoticed(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 2)
	w.initID("id")
	if _, err := w.Backup("backup"); err != nil {
		t.Fatal(err)
	}
	if err := CheckBackup(w.fs, "backup"); err != nil {
		t.Fatal(err)
	}
	names, err := w.fs.List("backup/" + metaDir)
	if err != nil {
		t.Fatal(err)
	}
	paths := []string{"backup/" + sumsFile}
	for _, name := range names {
		paths = append(paths, "backup/"+metaDir+"/"+name)
	}
	for _, path := range paths {
		whole, err := readWhole(w.fs, path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			flip(t, w.fs, path, i)
			if CheckBackup(w.fs, "backup") == nil {
				t.Fatalf("%s: byte %d was changed, and nobody noticed", path, i)
			}
			flip(t, w.fs, path, i)
		}
		if err := w.fs.Rename(path, "aside"); err != nil {
			t.Fatal(err)
		}
		if CheckBackup(w.fs, "backup") == nil {
			t.Fatalf("%s is missing, and nobody noticed", path)
		}
		if err := w.fs.Rename("aside", path); err != nil {
			t.Fatal(err)
		}
	}
}

// flip changes a byte of a file, or back.
func flip(t *testing.T, fs vfs.FS, path string, at int) {
	t.Helper()
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(at)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x41
	if _, err := f.WriteAt(b[:], int64(at)); err != nil {
		t.Fatal(err)
	}
}

// checkBackup verifies the files, starts a broker over them, and compares.
func checkBackup(t *testing.T, dir string, last []int64) {
	t.Helper()
	for p := range last {
		log := filepath.Join(dir, logsDir, fmt.Sprint("t-", p))
		_, err := commitlog.Inspector{FS: vfs.Default, Dir: log, Fault: func(f commitlog.Fault) {
			if !f.Derived {
				t.Errorf("%s: %s", dir, f)
			}
		}}.Inspect()
		if err != nil {
			t.Fatal(err)
		}
	}
	b, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	w := &workbench{Broker: b, t: t}
	for p := range last {
		n := w.countCommitted(int32(p))
		offset := int64(0)
		row, ok, err := b.meta.Offset(fmt.Sprint("group-", p), "t", int32(p))
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			offset = row.Offset
		}
		if n != offset || n < last[p] {
			t.Fatalf("%s: partition %d has %d committed records, its group is at %d, and was at %d", dir, p, n, offset, last[p])
		}
		last[p] = n
	}
}

// countCommitted counts the committed records of a partition of topic "t", in all of
// its segments.
func (w *workbench) countCommitted(partition int32) (n int64) {
	w.t.Helper()
	for offset := int64(0); ; {
		res, err := w.Fetch("t", partition, offset, true, 1<<20, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(res.Batches) == 0 {
			return n
		}
		aborted := map[int64]bool{}
		for _, a := range res.Aborted {
			aborted[a.ProducerID] = true
		}
		for rest := res.Batches; len(rest) > 0; {
			var b recordbatch.Batch
			if b, rest, err = recordbatch.Split(rest); err != nil {
				w.t.Fatal(err)
			}
			if offset = b.NextOffset(); !b.IsControl() && !aborted[b.ProducerID()] {
				n += int64(b.Count())
			}
		}
	}
}

// countInTransactions writes record i and commits offset i in one transaction, again
// and again.
func countInTransactions(b *Broker, partition int32, stop <-chan struct{}) error {
	id, group := fmt.Sprint("id-", partition), fmt.Sprint("group-", partition)
	conn := NewConn("test", "/test")
	send := func(req kmsg.Request) kmsg.Response {
		came := make(chan kmsg.Response, 1)
		b.Handle(conn, req, func(r kmsg.Response) { came <- r })
		return <-came
	}
	init := kmsg.NewPtrInitProducerIDRequest()
	init.Version, init.TransactionalID, init.TransactionTimeoutMillis, init.ProducerID, init.ProducerEpoch = 5, &id, 60_000, -1, -1
	who := send(init).(*kmsg.InitProducerIDResponse)
	pid, epoch, seq := who.ProducerID, who.ProducerEpoch, int32(0)
	for n := int64(1); ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks, req.TransactionID = 12, -1, &id
		rt, rp := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		var builder recordbatch.Builder
		builder.Append(time.Now().UnixMilli(), nil, []byte(fmt.Sprint(n)), nil)
		batch := builder.Batch()
		batch.SetProducer(pid, epoch, seq, true)
		batch.SetCRC()
		rt.Topic, rp.Partition, rp.Records = "t", partition, batch
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		if code := send(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
			return fmt.Errorf("produce %d: %d", n, code)
		}
		commit := kmsg.NewPtrTxnOffsetCommitRequest()
		commit.Version, commit.TransactionalID, commit.Group, commit.ProducerID, commit.ProducerEpoch, commit.Generation = 5, id, group, pid, epoch, -1
		ct, cp := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
		ct.Topic, cp.Partition, cp.Offset = "t", partition, n
		ct.Partitions = append(ct.Partitions, cp)
		commit.Topics = append(commit.Topics, ct)
		if code := send(commit).(*kmsg.TxnOffsetCommitResponse).Topics[0].Partitions[0].ErrorCode; code != 0 {
			return fmt.Errorf("offsets %d: %d", n, code)
		}
		end := kmsg.NewPtrEndTxnRequest()
		end.Version, end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = 5, id, pid, epoch, true
		ended := send(end).(*kmsg.EndTxnResponse)
		if ended.ErrorCode != 0 {
			return fmt.Errorf("end %d: %d", n, ended.ErrorCode)
		}
		pid, epoch, seq = ended.ProducerID, ended.ProducerEpoch, 0
	}
}

// TestBackupToAnotherFileSystem is told once, with the mend, however many partitions
// there are, and leaves nothing.
func TestBackupToAnotherFileSystem(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpLink {
			return &os.LinkError{Op: "link", Old: op.Path, New: "elsewhere", Err: syscall.EXDEV}
		}
		return nil
	}))
	w.open()
	w.topic("t", 20)
	_, err := w.Backup("elsewhere")
	if err == nil || !strings.Contains(err.Error(), "another file system") || strings.Contains(err.Error(), "\n") {
		t.Errorf("it says %v", err)
	}
	if names, err := w.fs.List(""); err != nil || !slices.Equal(names, []string{"data"}) {
		t.Errorf("there are %v, %v", names, err)
	}
}

// TestBackupWithAPartitionThatCouldNotBegin: the first segment of a partition could not be
// made, as on a full disk. It is empty in the backup, which is whole. One whose directory is
// missing is told with what is wrong with it.
func TestBackupWithAPartitionThatCouldNotBegin(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var full atomic.Bool // the database has goroutines
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, ".log") && strings.Contains(op.Path, "data/logs/t-1/") {
			return syscall.ENOSPC
		}
		return nil
	}))
	w.open()
	w.topic("t", 1)
	w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	full.Store(true)
	if err := w.topics.grow("t", 2, false); err != nil {
		t.Fatal(err)
	}
	w.want(w.produce(9, nil, 1, oneRecord(-1, -1, -1, false, "v")).ErrorCode, kerr.KafkaStorageError)
	made, err := w.Backup("backup")
	if err == nil {
		err = CheckBackup(w.fs, "backup")
	}
	if err != nil || made.Partitions != 2 || made.Ends["t-0"] != 1 || made.Ends["t-1"] != 0 {
		t.Fatalf("%+v, %v", made, err)
	}
	sum, err := commitlog.Inspector{FS: w.fs, Dir: w.fs.PathJoin("backup", logsDir, "t-1"), Fault: func(f commitlog.Fault) { t.Error(f) }}.Inspect()
	if err != nil || sum.Segments != 1 || sum.End != 0 {
		t.Errorf("%+v, %v", sum, err)
	}
	dir := w.topics.dir("t", 0)
	w.Kill()
	full.Store(false)
	if err := w.fs.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w.open()
	if _, err := w.Backup("another"); err == nil || !strings.Contains(err.Error(), "bring them back or delete them first: t-0 (directory "+dir+" is missing") {
		t.Errorf("without the directory: %v", err)
	}
	w.Kill()
	w.cfg.Dir = "backup"
	w.open()
	for i := range int32(2) {
		w.want(w.produce(9, nil, i, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	}
}

// TestBackupTakesNoRecordsForNone: a partition behind one whose first segment could not be
// made has records, and for now cannot be opened. It is not empty in a backup: there is none.
func TestBackupTakesNoRecordsForNone(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	var failing atomic.Pointer[string]
	fail := func(partition string) { failing.Store(&partition) }
	fail("/t-0/")
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpOpen && strings.HasSuffix(op.Path, ".log") && strings.Contains(op.Path, *failing.Load()) {
			return syscall.EMFILE
		}
		return nil
	}))
	w.open()
	w.topic("t", 2)
	w.want(w.produce(9, nil, 1, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
	w.Kill()
	fail("/t-1/")
	w.open()
	if _, err := w.Backup("backup"); err == nil || !strings.Contains(err.Error(), "t-1") {
		t.Errorf("a backup was made: %v", err)
	}
	w.Kill()
	fail("/none/")
	w.open()
	if _, err := w.Backup("backup"); err != nil {
		t.Error(err)
	}
	if got := w.values(1, false); !slices.Equal(got, []string{"v"}) {
		t.Errorf("%q", got)
	}
}
