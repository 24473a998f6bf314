package logbroker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Statements of docs/compatibility.md that no other test is about.

// TestReplicasMeanNothing: there is one of each partition, and min.insync.replicas is kept
// as it was given, and in the way of nobody.
func TestReplicasMeanNothing(t *testing.T) {
	w := newWorkbench(t)
	two := kmsg.NewCreateTopicsRequestTopic()
	two.Topic, two.NumPartitions, two.ReplicationFactor = "two", 1, 2
	w.want(w.create(false, two)[0], kerr.InvalidReplicationFactor)
	w.topicWith("min.insync.replicas=3")
	w.want(w.put("k=v").ErrorCode, nil)
	w.restart()
	w.want(w.put("k=v").ErrorCode, nil)
	if got := w.config("min.insync.replicas"); got != "3" {
		t.Errorf("min.insync.replicas is %s", got)
	}
	metadata := kmsg.NewPtrMetadataRequest()
	metadata.Version = 9
	p := ask[*kmsg.MetadataResponse](w, metadata).Topics[0].Partitions[0]
	if len(p.Replicas) != 1 || len(p.ISR) != 1 {
		t.Errorf("replicas %v, in sync %v", p.Replicas, p.ISR)
	}
}

// TestEveryAcknowledgementIsOfTheDisk: who asks for the leader's acknowledgement is told
// what is on its disk, as who asks for that of all replicas.
func TestEveryAcknowledgementIsOfTheDisk(t *testing.T) {
	for _, acks := range []int16{1, -1} {
		w := newWorkbench(t)
		w.topic("t", 1)
		req := writeOne()
		req.Acks = acks
		w.want(ask[*kmsg.ProduceResponse](w, req).Topics[0].Partitions[0].ErrorCode, nil)
		w.losePower("boot-2")
		w.wantValues(0, "v")
	}
}

// TestReadersSeeWhatIsOnDisk: nothing is read that the power could take, and the high
// watermark does not tell of it. What an open transaction wrote is on disk after a second,
// after 50 ms if a reader waits for it.
func TestReadersSeeWhatIsOnDisk(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	id := "a"
	pid, epoch := w.initID(id)
	write := func(seq int32) {
		t.Helper()
		w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, seq, true, "v")).ErrorCode, nil)
	}
	ends := func(want int64) {
		t.Helper()
		res, err := w.Fetch("t", 0, 0, false, 1<<20, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n := w.countBatches(res.Batches); res.HighWatermark != want || n != int(want) {
			t.Fatalf("%d records are read, and the high watermark is %d; want %d", n, res.HighWatermark, want)
		}
	}
	write(0)
	ends(0)
	w.pass(time.Second - time.Millisecond)
	ends(0)
	w.pass(time.Millisecond)
	ends(1)

	waits := longFetch()
	waits.Topics[0].Partitions[0].FetchOffset = 1
	answered := false
	w.Handle(NewConn("test", "/test"), waits, func(kmsg.Response) { answered = true })
	write(1)
	w.pass(50*time.Millisecond - 1)
	if ends(1); answered {
		t.Fatal("who waits is answered with what is not on disk")
	}
	w.pass(1)
	if ends(2); !answered {
		t.Error("who waits is not answered after 50 ms")
	}
}

// TestTopicsOfKafkasNames: where Kafka keeps offsets and transactions, others may keep
// what they like.
func TestTopicsOfKafkasNames(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.commitAs("", -1), nil)
	w.initID("a")
	for _, name := range []string{"__consumer_offsets", "__transaction_state"} {
		metadata := kmsg.NewPtrMetadataRequest()
		metadata.Version, metadata.Topics = 9, []kmsg.MetadataRequestTopic{{Topic: &name}}
		w.want(ask[*kmsg.MetadataResponse](w, metadata).Topics[0].ErrorCode, kerr.UnknownTopicOrPartition)
		w.topic(name, 2)
		if got := ask[*kmsg.MetadataResponse](w, metadata).Topics[0]; got.IsInternal || len(got.Partitions) != 2 {
			t.Errorf("%s: internal %v, %d partitions", name, got.IsInternal, len(got.Partitions))
		}
		write := writeOne()
		write.Topics[0].Topic = name
		w.want(ask[*kmsg.ProduceResponse](w, write).Topics[0].Partitions[0].ErrorCode, nil)
		w.deleteTopic(name)
	}
	w.wantOffset(1)
	w.want(w.describeTxn("a").ErrorCode, nil)
}
