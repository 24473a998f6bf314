package logbroker

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/datadir"
	"github.com/levada/levada/internal/recordbatch"
)

// batchTopics are topics with every rule that looks into batches.
var batchTopics = map[string][]string{
	"plain":      nil,
	"compacted":  {"cleanup.policy=compact", "min.cleanable.dirty.ratio=0", "internal.segment.bytes=100"},
	"recoded":    {"compression.type=zstd", "message.timestamp.type=LogAppendTime"},
	"unpacked":   {"compression.type=uncompressed", "message.timestamp.before.max.ms=1000"},
	"compacting": {"cleanup.policy=compact,delete", "compression.type=gzip", "retention.ms=1000"},
}

func newBatchBench(t testing.TB) *workbench {
	t.Helper()
	w := newWorkbench(t)
	w.makeBatchTopics()
	return w
}

func (w *workbench) makeBatchTopics() {
	w.t.Helper()
	for name, configs := range batchTopics {
		values := map[string]string{}
		for _, c := range configs {
			k, v, _ := strings.Cut(c, "=")
			values[k] = v
		}
		if _, err := w.topics.create(name, 1, values, false); err != nil {
			w.t.Fatal(err)
		}
	}
}

// FuzzBatch produces any bytes as a batch, with a sum and a length that fit if they
// have a header: what is taken can be read back, compacted, and is there after a
// restart.
func FuzzBatch(f *testing.F) {
	w := newBatchBench(f)
	plain := oneRecord(-1, -1, -1, false, "some bytes, some bytes")
	f.Add([]byte(plain), true)
	f.Add([]byte(oneRecord(3, 0, 0, true, "in a transaction")), true)
	f.Add([]byte(recordbatch.ControlBatch(1, 2, true, 3, 4)), true)
	for codec := recordbatch.CodecGzip; codec <= recordbatch.CodecZstd; codec++ {
		packed, err := new(recordbatch.Reader).Recode(nil, w.keyed(w.now, "k=v", "k=w", "=x"), codec, 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(packed), true)
	}
	runs := 0
	f.Fuzz(func(t *testing.T, p []byte, fits bool) {
		w.t = t
		if runs++; runs%200 == 0 {
			w.Kill()
			w.fs = vfs.NewCrashableMem()
			w.cfg.FS = w.fs
			w.open()
			w.makeBatchTopics()
		}
		p = bytes.Clone(p)
		if fits && len(p) >= recordbatch.HeaderSize {
			p[16] = recordbatch.Magic
			binary.BigEndian.PutUint32(p[8:], uint32(len(p)-recordbatch.LogOverhead))
			recordbatch.Batch(p).SetCRC()
		}
		before := allocated()
		id := "id"
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks, req.TransactionID = 12, -1, &id
		for _, t := range w.topics.sorted() {
			topic := kmsg.NewProduceRequestTopic()
			topic.Topic = t.name
			part := kmsg.NewProduceRequestTopicPartition()
			part.Records = bytes.Clone(p)
			topic.Partitions = append(topic.Partitions, part)
			req.Topics = append(req.Topics, topic)
		}
		ask[*kmsg.ProduceResponse](w, req)
		w.pass(2 * time.Second)
		if took := allocated() - before; took > batchMemory {
			t.Fatalf("%d bytes took %d bytes of memory", len(p), took)
		}
		if runs%20 == 0 {
			w.Clean()
			w.restart()
		}
		w.readAllTopics()
		if err := w.failure(); err != nil {
			t.Fatal(err)
		}
	})
}

// batchMemory bounds what a produce to every topic may take: each of them unpacks a
// batch in memory at most, and grows a buffer to it by doubling.
const batchMemory = 6 * 3 * recordbatch.MaxDecompressed

// readAllTopics reads every record of every log as a client does.
func (w *workbench) readAllTopics() {
	w.t.Helper()
	var r recordbatch.Reader
	var rec recordbatch.Record
	for _, t := range w.topics.sorted() {
		p := t.parts()[0]
		if p.damage != nil {
			w.t.Fatalf("%s: %v", t.name, p.damage)
		}
		for next := p.log.Start(); next < p.log.End(); {
			got, err := p.log.Read(next, p.log.End(), 1<<20, true, nil)
			if err != nil || len(got) == 0 {
				w.t.Fatalf("%s: read at %d of %d: %d bytes, %v", t.name, next, p.log.End(), len(got), err)
			}
			for len(got) > 0 {
				var b recordbatch.Batch
				if b, got, err = recordbatch.Split(got); err == nil {
					err = b.Validate()
				}
				if err != nil || b.NextOffset() <= next {
					w.t.Fatalf("%s: at %d: %v", t.name, next, err)
				}
				next = b.NextOffset()
				if r.Reset(b) != nil {
					continue // only who reads it knows
				}
				for ok := true; ok && err == nil; {
					ok, err = r.Next(&rec)
				}
			}
		}
	}
}

// FuzzDirectory opens a data directory one of whose database's rows, whose format
// file and one of whose logs hold any bytes: it is refused, or what there is can be
// used, and opens again.
func FuzzDirectory(f *testing.F) {
	w := newWorkbench(f)
	w.topic("t", 2)
	id := "id"
	pid, epoch := w.initID(id)
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
	w.want(w.commitAs("", -1), nil)
	w.Kill()
	template := w.fs
	segment := []byte(oneRecord(-1, -1, -1, false, "v"))
	rows := map[string][]byte{}
	eachRow(f, copyOf(template), func(k, v []byte) { rows[string(k)] = v })
	for k, v := range rows {
		f.Add([]byte(k), v, DataFormat, segment)
	}
	f.Add([]byte("x"), []byte{}, "levada broker data, version 2", segment[:40])
	f.Fuzz(func(t *testing.T, key, value []byte, format string, segment []byte) {
		if len(key) == 0 {
			return
		}
		fs := copyOf(template)
		setRow(t, fs, key, value)
		write(t, fs, fs.PathJoin("data", datadir.FormatFile), []byte(format))
		write(t, fs, fs.PathJoin("data", logsDir, "t-1", "00000000000000000000.log"), segment)
		now := time.UnixMilli(1_700_000_000_000)
		cfg := Config{
			Dir: "data", FS: fs, Synchronous: true, Now: func() time.Time { return now },
			BootID: func() string { return "boot-1" },
		}
		for range 2 {
			before := allocated()
			b, err := Open(cfg)
			if took := allocated() - before; took > 64<<20 {
				t.Fatalf("the start took %d bytes of memory", took)
			}
			if err != nil {
				return
			}
			now = now.Add(30 * 24 * time.Hour)
			b.Tick(now)
			b.Clean()
			if err := b.Close(); err != nil && b.failure() == nil {
				t.Fatal(err)
			}
		}
	})
}

// copyOf is a file system with the same files.
func copyOf(fs *vfs.MemFS) *vfs.MemFS {
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

func eachRow(t testing.TB, fs vfs.FS, fn func(key, value []byte)) {
	t.Helper()
	db, err := pebble.Open(fs.PathJoin("data", metaDir), &pebble.Options{FS: fs, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	it, err := db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		fn(bytes.Clone(it.Key()), bytes.Clone(it.Value()))
	}
}

func setRow(t testing.TB, fs vfs.FS, key, value []byte) {
	t.Helper()
	db, err := pebble.Open(fs.PathJoin("data", metaDir), &pebble.Options{FS: fs, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Set(key, value, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, fs vfs.FS, name string, content []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// silent keeps Pebble quiet.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(string, ...any) {}
