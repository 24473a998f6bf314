package logbroker

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// free sets what the disk says it has left, in MiB.
func (w *workbench) free(mib uint64) {
	w.fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: mib << 20, TotalBytes: 1 << 40})
	w.pass(2 * lookInterval)
}

func (w *workbench) createTopic(name string) int16 {
	w.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version = 7
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, 1, 1
	req.Topics = append(req.Topics, t)
	return ask[*kmsg.CreateTopicsResponse](w, req).Topics[0].ErrorCode
}

func TestFullDiskIsSaidAndPasses(t *testing.T) {
	w := newWorkbench(t)
	log := w.hear()
	w.topic("t", 1)
	w.free(1000)
	id := "id"
	pid, epoch := w.initID(id)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "before")).ErrorCode, nil)

	w.free(63) // below the reserve of 64 MiB: no records
	for range 3 {
		got := w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, "lost"))
		w.want(got.ErrorCode, kerr.KafkaStorageError)
		for _, want := range []string{"data", "64512 KiB free", "free some space"} {
			if !strings.Contains(*got.ErrorMessage, want) {
				t.Errorf("no %q in %q", want, *got.ErrorMessage)
			}
		}
	}
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 1, true, "lost")).ErrorCode, kerr.KafkaStorageError)
	if _, err := w.Append("t", 0, oneRecord(-1, -1, -1, false, "lost")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a direct append: %v, want ENOSPC", err)
	}
	if n := strings.Count(log.String(), "no records are taken"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	// All else goes on: offsets, new ids, topics, commits.
	w.want(w.commitOffset(id, pid, epoch, "g", 7).Topics[0].Partitions[0].ErrorCode, nil)
	w.initID("other")
	w.want(w.createTopic("u"), nil)
	ended := w.endTxn(5, id, pid, epoch, true)
	w.want(ended.ErrorCode, nil)
	w.wantValues(0, "before")

	w.free(31) // below half of it: only what cannot be refused
	w.want(w.createTopic("v"), kerr.KafkaStorageError)
	w.want(w.commitOffset(id, ended.ProducerID, ended.ProducerEpoch, "g", 8).Topics[0].Partitions[0].ErrorCode, kerr.NotCoordinator)
	w.want(w.endTxn(5, id, ended.ProducerID, ended.ProducerEpoch, false).ErrorCode, nil) // the group made it ongoing

	w.free(1000)
	w.want(w.createTopic("v"), nil)
	w.want(w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, "after")).ErrorCode, nil)
	if n := strings.Count(log.String(), "there is room"); n != 1 {
		t.Errorf("said %d times that it is over:\n%s", n, log.String())
	}
	w.restart()
	w.wantValues(0, "before", "after")
	if got := w.offset("g"); got != 7 {
		t.Errorf("offset %d, want 7", got)
	}
}

// TestGroupsOnAFullDisk: when only what cannot be refused is written, nobody joins a
// group, no assignment is taken and no offset committed, as by Kafka's coordinator when
// its log cannot be written. Members stay, and what frees space goes on.
func TestGroupsOnAFullDisk(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.free(1000)
	commit := func(group, member string, generation int32) int16 {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.MemberID, req.Generation = 8, group, member, generation
		ct := kmsg.NewOffsetCommitRequestTopic()
		ct.Topic, ct.Partitions = "t", []kmsg.OffsetCommitRequestTopicPartition{kmsg.NewOffsetCommitRequestTopicPartition()}
		req.Topics = append(req.Topics, ct)
		return ask[*kmsg.OffsetCommitResponse](w, req).Topics[0].Partitions[0].ErrorCode
	}
	beat := func(epoch int32, topics []string, regex *string) *kmsg.ConsumerGroupHeartbeatResponse {
		return w.heart("m", epoch, func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.Group, r.SubscribedTopicNames, r.SubscribedTopicRegex = "new", topics, regex
		})
	}
	sync := func(member string, generation int32) int16 { // as the leader
		req := syncOf(member, generation)
		req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: member, MemberAssignment: []byte("a")}}
		return ask[*kmsg.SyncGroupResponse](w, req).ErrorCode
	}
	pattern, none := "t.*", ""
	joined := w.joinClassic("")
	w.want(joined.ErrorCode, nil)
	w.want(sync(joined.MemberID, joined.Generation), nil)
	epoch := beat(0, []string{"t"}, nil).MemberEpoch
	for _, group := range []string{"deleted", "emptied"} {
		w.want(commit(group, "", -1), nil)
	}

	w.free(31) // below half of the reserve of 64 MiB
	w.want(w.joinClassic("").ErrorCode, kerr.NotCoordinator)
	w.want(w.joinClassic(joined.MemberID).ErrorCode, kerr.NotCoordinator)
	w.want(sync(joined.MemberID, joined.Generation), kerr.NotCoordinator)
	if follower := ask[*kmsg.SyncGroupResponse](w, syncOf(joined.MemberID, joined.Generation)); follower.ErrorCode != 0 || string(follower.MemberAssignment) != "a" {
		t.Errorf("who brings no assignment is answered %v with %q", kerr.ErrorForCode(follower.ErrorCode), follower.MemberAssignment)
	}
	w.want(commit("g", joined.MemberID, joined.Generation), kerr.NotCoordinator)
	w.want(commit("other", "", -1), kerr.NotCoordinator)
	w.want(beat(0, []string{"t"}, nil).ErrorCode, kerr.NotCoordinator)
	w.want(beat(epoch, []string{"t", "u"}, nil).ErrorCode, kerr.NotCoordinator)
	for _, regex := range []*string{&pattern, &none} { // one is set, and taken back
		w.want(beat(epoch, nil, regex).ErrorCode, kerr.NotCoordinator)
	}
	w.want(beat(epoch, nil, nil).ErrorCode, nil) // a sign of life
	drop := kmsg.NewPtrDeleteGroupsRequest()
	drop.Groups = []string{"deleted"}
	w.want(ask[*kmsg.DeleteGroupsResponse](w, drop).Groups[0].ErrorCode, nil)
	empty := kmsg.NewPtrOffsetDeleteRequest()
	empty.Group, empty.Topics = "emptied", []kmsg.OffsetDeleteRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
	w.want(ask[*kmsg.OffsetDeleteResponse](w, empty).Topics[0].Partitions[0].ErrorCode, nil)
	for _, group := range []string{"deleted", "emptied", "other"} {
		if got := w.offset(group); got != -1 {
			t.Errorf("offset %d of %s", got, group)
		}
	}

	w.free(1000)
	w.want(sync(joined.MemberID, joined.Generation), nil)
	w.want(commit("g", joined.MemberID, joined.Generation), nil)
	w.want(beat(epoch, []string{"t", "u"}, &pattern).ErrorCode, nil)
	w.free(31)
	w.want(beat(-1, nil, nil).ErrorCode, nil) // who leaves frees space
}

// Another program may fill the disk between two looks: then the write itself
// fails, and only that batch is refused.
func TestWriteOnAFullDisk(t *testing.T) {
	var full atomic.Bool
	w := newWorkbench(t)
	w.Kill()
	w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, logsDir+"/") {
			return syscall.ENOSPC
		}
		return nil
	}))
	w.open()
	w.topic("t", 1)
	id := "id"
	pid, epoch := w.initID(id)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "a")).ErrorCode, nil)
	full.Store(true)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 1, true, "b")).ErrorCode, kerr.KafkaStorageError)
	ended := w.endTxn(5, id, pid, epoch, true)
	w.want(ended.ErrorCode, nil) // decided, though its marker cannot be written
	w.wantValues(0, "a")
	full.Store(false)
	w.pass(markerRetry)
	w.want(w.produce(12, &id, 0, oneRecord(ended.ProducerID, ended.ProducerEpoch, 0, true, "c")).ErrorCode, nil)
	w.want(w.endTxn(5, id, ended.ProducerID, ended.ProducerEpoch, true).ErrorCode, nil)
	w.wantValues(0, "a", "c")
	w.pass(time.Hour) // whatever still waits
	w.restart()
	w.wantValues(0, "a", "c")
}

// A disk that fails in another way than by being full is said once, whoever tries
// how often, and so is its end.
func TestDiskThatCannotBeWrittenIsSaid(t *testing.T) {
	var log syncBuffer
	w := newWorkbench(t)
	w.Kill()
	var broken errorfs.Toggle
	broken.Injector = errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, ".log") {
			return syscall.EIO
		}
		return nil
	})
	w.cfg.FS = errorfs.Wrap(w.fs, &broken)
	w.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w.open()
	w.topic("t", 1)
	broken.On()
	for range 3 {
		w.want(w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, "lost")).ErrorCode, kerr.KafkaStorageError)
	}
	broken.Off()
	for range 2 {
		w.want(w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, "there")).ErrorCode, nil)
	}
	for _, want := range []string{"records cannot be written", syscall.EIO.Error(), "records can be written again"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("the broker said %q %d times, want once:\n%s", want, n, log.String())
		}
	}
	if got := w.values(0, true); len(got) != 2 {
		t.Errorf("a reader sees %q", got)
	}
}

// TestTransactionsOnAFailingDisk: who asks for what cannot be written is told what Kafka's
// coordinator tells when its log cannot be: to look for another, and retry. One without a
// transactional id has no coordinator to look for.
func TestTransactionsOnAFailingDisk(t *testing.T) {
	id, none := "id", (*string)(nil)
	initAs := func(w *workbench, id *string) int16 {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 5, id, 60_000, -1, -1
		return ask[*kmsg.InitProducerIDResponse](w, req).ErrorCode
	}
	for name, test := range map[string]struct {
		do   func(w *workbench, pid int64, epoch int16) int16
		want *kerr.Error
	}{
		"InitProducerId":                     {func(w *workbench, _ int64, _ int16) int16 { return initAs(w, &id) }, kerr.NotCoordinator},
		"InitProducerId without an id":       {func(w *workbench, _ int64, _ int16) int16 { return initAs(w, none) }, kerr.CoordinatorLoadInProgress},
		"InitProducerId without any id left": {func(w *workbench, _ int64, _ int16) int16 { other := "other"; return initAs(w, &other) }, kerr.CoordinatorLoadInProgress},
		"AddPartitionsToTxn": {func(w *workbench, pid int64, epoch int16) int16 {
			w.addPartition(id, pid, epoch, 1, kerr.NotCoordinator)
			return kerr.NotCoordinator.Code
		}, kerr.NotCoordinator},
		"AddOffsetsToTxn": {func(w *workbench, pid int64, epoch int16) int16 {
			req := kmsg.NewPtrAddOffsetsToTxnRequest()
			req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = 3, id, pid, epoch, "g"
			return ask[*kmsg.AddOffsetsToTxnResponse](w, req).ErrorCode
		}, kerr.NotCoordinator},
		"TxnOffsetCommit": {func(w *workbench, pid int64, epoch int16) int16 {
			return w.commitOffset(id, pid, epoch, "g", 1).Topics[0].Partitions[0].ErrorCode
		}, kerr.NotCoordinator},
		"EndTxn that commits": {func(w *workbench, pid int64, epoch int16) int16 { return w.endTxn(5, id, pid, epoch, true).ErrorCode }, kerr.NotCoordinator},
		"EndTxn that aborts":  {func(w *workbench, pid int64, epoch int16) int16 { return w.endTxn(5, id, pid, epoch, false).ErrorCode }, kerr.NotCoordinator},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			broken := w.breakableMeta()
			w.topic("t", 2)
			pid, epoch := w.initID(id)
			w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "v")).ErrorCode, nil)
			w.pids.next = w.pids.end
			broken.On()
			w.want(test.do(w, pid, epoch), test.want)
		})
	}
	// The disk is nearly full: nothing new is written.
	w := newWorkbench(t)
	w.initID(id)
	w.free(31)
	w.want(initAs(w, &id), kerr.NotCoordinator)
	w.want(initAs(w, none), kerr.CoordinatorLoadInProgress)
	wrong := ""
	w.want(initAs(w, &wrong), kerr.InvalidRequest)
	w.free(1000)
	w.want(initAs(w, &id), nil)
}

// TestTheReserveIsKept: however fast records come, they take no more than half of what was
// free before the broker looks again. Writing goes on soon after there is room, but not for
// a small batch only.
func TestTheReserveIsKept(t *testing.T) {
	const reserve = 64
	w := newWorkbench(t)
	log := w.hear()
	w.topic("t", 1)
	free := func(kib int) { // of which the broker is not told
		w.fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: uint64(reserve<<20 + kib<<10), TotalBytes: 1 << 40})
	}
	write := func(kib int, want *kerr.Error) {
		t.Helper()
		w.want(w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, string(make([]byte, kib<<10)))).ErrorCode, want)
	}
	for n := range 2 {
		free(2 << 10)
		w.pass(2 * lookInterval)
		write(900, nil)
		free(0)         // others have filled it
		write(900, nil) // which is known to be half of what was free
		write(900, kerr.KafkaStorageError)
		write(1, kerr.KafkaStorageError)
		free(500)
		w.now = w.now.Add(fullInterval)
		write(1, kerr.KafkaStorageError)
		free(2 << 10)
		w.now = w.now.Add(fullInterval * 6 / 10)
		write(1, kerr.KafkaStorageError) // who tries again and again puts no look off
		w.now = w.now.Add(fullInterval * 6 / 10)
		write(1, nil)
		for _, what := range []string{"no records are taken", "there is room"} {
			if got := strings.Count(log.String(), what); got != n+1 {
				t.Errorf("said %d times that %s, want %d", got, what, n+1)
			}
		}
	}
}

// TestMarkersAloneLeaveTheReserve: on a full disk the markers are written that end
// something, and no others: who asks for many of those must not use up what is left.
func TestMarkersAloneLeaveTheReserve(t *testing.T) {
	w := newWorkbench(t)
	log := w.hear()
	w.topic("t", 2)
	w.free(1000)
	id := "id"
	pid, epoch := w.initID(id)
	w.want(w.produce(12, &id, 0, oneRecord(pid, epoch, 0, true, "hangs")).ErrorCode, nil)
	added := kmsg.NewPtrAddPartitionsToTxnRequest()
	added.Version, added.TransactionalID, added.ProducerID, added.ProducerEpoch = 3, id, pid, epoch
	added.Topics = append(added.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: "t", Partitions: []int32{1}})
	w.want(ask[*kmsg.AddPartitionsToTxnResponse](w, added).Topics[0].Partitions[0].ErrorCode, nil)

	w.free(63)
	abort := func(pid int64) int16 {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Version = 1
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch = pid, epoch
		m.Topics = append(m.Topics, kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: "t", Partitions: []int32{0}})
		req.Markers = append(req.Markers, m)
		return ask[*kmsg.WriteTxnMarkersResponse](w, req).Markers[0].Topics[0].Partitions[0].ErrorCode
	}
	w.want(abort(pid+1), kerr.KafkaStorageError)
	w.want(abort(pid), nil)
	w.want(abort(pid), kerr.KafkaStorageError)
	w.want(w.endTxn(5, id, pid, epoch, true).ErrorCode, nil)
	w.wantEnds(2, 0)

	w.free(1000)
	w.want(abort(pid+1), nil)
	w.wantEnds(3, 0)
	if n := strings.Count(log.String(), "aborted by an administrator"); n != 1 {
		t.Errorf("it is said %d times that a transaction was aborted:\n%s", n, log.String())
	}
}

// wantEnds tells where the partitions of topic "t" have to end.
func (w *workbench) wantEnds(ends ...int64) {
	w.t.Helper()
	for i, p := range w.topics.byName("t").parts() {
		if got := p.log.End(); got != ends[i] {
			w.t.Errorf("partition %d ends at %d, want %d", i, got, ends[i])
		}
	}
}

// TestReservedSpaceIsThatOfAll: logs set space aside where the disk has plenty, and no
// more of it between two looks than leaves plenty.
func TestReservedSpaceIsThatOfAll(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	const most = 4 << 20
	for _, test := range []struct {
		mib    uint64
		grants int
	}{{1000, 0}, {64 + 1024 + 3, 0}, {64 + 1024 + 40, 10}, {63, 0}, {64 + 1024 + 8, 2}} {
		w.free(test.mib)
		w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, "v")) // which looks
		grants := 0
		for grants < 100 && w.space.mayReserve(most) {
			grants++
		}
		if grants != test.grants {
			t.Errorf("with %d MiB free %d logs may reserve, want %d", test.mib, grants, test.grants)
		}
	}
}
