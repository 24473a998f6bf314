package logbroker

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// hangingFS does not end a sync of a log of topic t that begins while it hangs, until it
// is released.
type hangingFS struct {
	vfs.FS
	hangs atomic.Bool
	began chan struct{} // has room for all that a test begins
	goOn  chan struct{}
}

type hangingFile struct {
	vfs.File
	fs *hangingFS
}

func (f *hangingFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	if err != nil || !strings.Contains(name, "/"+logsDir+"/t-") {
		return file, err
	}
	return &hangingFile{file, f}, nil
}

func (f *hangingFile) SyncData() error {
	if f.fs.hangs.Load() {
		f.fs.began <- struct{}{}
		<-f.fs.goOn
	}
	return f.File.SyncData()
}

// over is what a request gets over a connection; a broker that hangs fails the test.
func over[R kmsg.Response](t *testing.T, w *wire, req kmsg.Request) R {
	t.Helper()
	resp, err := w.call(req)
	if err != nil {
		t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
	return resp.(R)
}

// joinAlone makes the client the only member of a group of the old protocol, and returns
// its heartbeat.
func joinAlone(t *testing.T, w *wire) *kmsg.HeartbeatRequest {
	t.Helper()
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version, join.Group, join.ProtocolType = 3, "g", "consumer" // may join without an id
	join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = 45_000, 60_000
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range"}}
	joined := over[*kmsg.JoinGroupResponse](t, w, join)
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version, sync.Group, sync.MemberID, sync.Generation = 2, "g", joined.MemberID, joined.Generation
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID}}
	if code := over[*kmsg.SyncGroupResponse](t, w, sync).ErrorCode; joined.ErrorCode != 0 || code != 0 {
		t.Fatalf("joined with error %d, synced with %d", joined.ErrorCode, code)
	}
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Version, beat.Group, beat.MemberID, beat.Generation = 3, "g", joined.MemberID, joined.Generation
	return beat
}

// consumerBeat is a heartbeat of a member of the new protocol, the first with epoch 0.
func consumerBeat(epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch = 1, "c", "m", epoch
	if epoch == 0 {
		req.RebalanceTimeoutMillis, req.SubscribedTopicNames, req.Topics = 60_000, []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	return req
}

// writeTo is writeOne to the first partitions of a topic.
func writeTo(topic string, partitions int32) *kmsg.ProduceRequest {
	req := writeOne()
	req.Topics[0].Topic, req.Topics[0].Partitions = topic, nil
	for n := range partitions {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = n, oneRecord(-1, -1, -1, false, "v")
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	return req
}

// TestNobodyWaitsForASyncOfOthers: while logs are synced and the disk does not end, by whom
// ever they are, durable records are fetched, members are heard and all else is answered; as
// long as not too many wait for the disk, other logs are written and synced. What is not
// durable is not shown and not acknowledged until it is.
func TestNobodyWaitsForASyncOfOthers(t *testing.T) {
	const many = maxSyncs + 8
	for name, partitions := range map[string]int32{"by the reader of the request": 1, "of two logs": 2, "of more than are synced at once": many} {
		t.Run(name, func(t *testing.T) {
			fs := &hangingFS{FS: vfs.NewMem(), began: make(chan struct{}, 3*many), goOn: make(chan struct{})}
			b, connect := dial(t, Config{FS: fs, DefaultPartitions: many})
			release := sync.OnceFunc(func() { fs.hangs.Store(false); close(fs.goOn) })
			t.Cleanup(release) // before the broker is closed
			for _, topic := range []string{"t", "u"} {
				if _, err := b.topics.create(topic, many, map[string]string{}, false); err != nil {
					t.Fatal(err)
				}
			}
			client := func() *wire { return &wire{t, connect()} }
			producer, waiter, other := client(), client(), client()
			beat := joinAlone(t, other)
			epoch := over[*kmsg.ConsumerGroupHeartbeatResponse](t, other, consumerBeat(0)).MemberEpoch
			wantWritten(t, over[*kmsg.ProduceResponse](t, producer, writeTo("t", 1)), 1, 0)

			waiter.send(frameOf(fetchOfOne(1, 20*time.Second)))
			fs.hangs.Store(true)
			producer.send(frameOf(writeTo("t", partitions)))
			for range min(partitions, maxSyncs) {
				select {
				case <-fs.began:
				case <-time.After(5 * time.Second):
					t.Fatal("nothing is synced")
				}
			}
			for range 3 {
				wantFetched(t, over[*kmsg.FetchResponse](t, other, fetchOfOne(0, 0)), 0)
				if p := over[*kmsg.FetchResponse](t, other, fetchOfOne(1, time.Millisecond)).Topics[0].Partitions[0]; len(p.RecordBatches) > 0 || p.ErrorCode != 0 {
					t.Errorf("error %d, %d bytes that are not durable", p.ErrorCode, len(p.RecordBatches))
				}
				if code := over[*kmsg.HeartbeatResponse](t, other, beat).ErrorCode; code != 0 {
					t.Errorf("heartbeat: error %d", code)
				}
				if resp := over[*kmsg.ConsumerGroupHeartbeatResponse](t, other, consumerBeat(epoch)); resp.ErrorCode != 0 {
					t.Errorf("heartbeat of a consumer: error %d", resp.ErrorCode)
				}
				if resp := over[*kmsg.MetadataResponse](t, other, &kmsg.MetadataRequest{Version: 9}); len(resp.Topics) != 2 {
					t.Errorf("%d topics", len(resp.Topics))
				}
				if code := apiVersions(t, client(), 4).ErrorCode; code != 0 {
					t.Errorf("who connects: error %d", code)
				}
			}
			if partitions < maxSyncs {
				wantWritten(t, over[*kmsg.ProduceResponse](t, other, writeTo("u", 1)), 1, 0)
			}
			if end := b.topics.byName("t").parts()[0].highWatermark(); end != 1 {
				t.Errorf("records up to %d are shown, 1 is durable", end)
			}

			release()
			frame, err := producer.receive()
			if err != nil {
				t.Fatalf("what was written is not acknowledged: %v", err)
			}
			written := kmsg.NewPtrProduceResponse()
			if written.Version = writeOne().Version; written.ReadFrom(frame[4:]) != nil {
				t.Fatalf("answered with %x", frame)
			}
			wantWritten(t, written, int(partitions), 1)
			if frame, err = waiter.receive(); err != nil {
				t.Fatalf("who waited is not answered: %v", err)
			}
			fetched := kmsg.NewPtrFetchResponse()
			if fetched.Version = 11; fetched.ReadFrom(frame[4:]) != nil {
				t.Fatalf("answered with %x", frame)
			}
			wantFetched(t, fetched, 1)
		})
	}
}

// wantWritten checks that one record was written to so many partitions, to the first at
// the offset.
func wantWritten(t *testing.T, resp *kmsg.ProduceResponse, partitions int, offset int64) {
	t.Helper()
	if got := len(resp.Topics[0].Partitions); got != partitions {
		t.Fatalf("%d partitions are answered, want %d", got, partitions)
	}
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != 0 || p.Partition == 0 && p.BaseOffset != offset {
			t.Fatalf("partition %d: error %d, offset %d; want offset %d", p.Partition, p.ErrorCode, p.BaseOffset, offset)
		}
	}
}

// wantFetched checks that exactly the record at the offset has come, and the high watermark
// behind it.
func wantFetched(t *testing.T, resp *kmsg.FetchResponse, offset int64) {
	t.Helper()
	p := resp.Topics[0].Partitions[0]
	batch, rest, err := recordbatch.Split(p.RecordBatches)
	if err != nil || len(rest) > 0 || batch.BaseOffset() != offset || batch.Count() != 1 || p.HighWatermark != offset+1 {
		t.Fatalf("fetch: error %d, %d bytes, high watermark %d, %v; want the record at %d alone", p.ErrorCode, len(p.RecordBatches), p.HighWatermark, err, offset)
	}
}
