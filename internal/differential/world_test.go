package differential

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// operation is one thing that is asked of every broker.
type operation struct {
	text string
	do   func(*broker) string
	// reads tells that it changes nothing; first is such a one that brokers must
	// agree on before.
	reads bool
	first *operation
}

// world is what the test knows of the brokers, which are to be alike: enough to
// ask for things that are there as well as for those that are not.
type world struct {
	prefix string
	// right leaves out requests that are wrong in themselves.
	right     bool
	topics    []string
	groups    []string
	ids       []string // transactional
	producers map[string]*producer
}

// producer is what a producer holds at each broker.
type producer struct {
	id    map[string]int64
	epoch map[string]int16
	next  map[string]int32 // sequence by topic and partition
}

func newWorld(prefix string, right bool) *world {
	w := &world{prefix: prefix, right: right, producers: map[string]*producer{}}
	for _, n := range []string{"a", "b", "c"} {
		w.topics = append(w.topics, prefix+n)
		w.groups = append(w.groups, prefix+"g"+n)
		w.ids = append(w.ids, prefix+"x"+n)
	}
	return w
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// next draws an operation.
func (w *world) next(rng *rand.Rand) operation {
	topic, group, id := pick(rng, w.topics...), pick(rng, w.groups...), pick(rng, w.ids...)
	partition := pick(rng, int32(0), 0, 0, 1, 2, 7, -1)
	if w.right {
		partition, id = pick(rng, int32(0), 0, 1), w.ids[0]
	}
	kinds := []func() operation{
		func() operation { return w.createTopic(rng, topic) },
		func() operation { return w.createTopic(rng, topic) },
		func() operation {
			if rng.IntN(4) > 0 {
				return w.metadata(topic)
			}
			return w.deleteTopic(topic)
		},
		func() operation { return w.produce(rng, topic, partition) },
		func() operation { return w.produce(rng, topic, partition) },
		func() operation { return w.produce(rng, topic, partition) },
		func() operation {
			return w.listOffsets(topic, partition, pick(rng, int64(-1), -2, -3, 1_700_000_000_000, 0, 1<<60), pick(rng, int8(0), 1))
		},
		func() operation {
			return w.fetch(topic, partition, pick(rng, int64(0), 0, 1, 3, 1000, -1), pick(rng, int8(0), 1))
		},
		func() operation { return w.fetch(topic, partition, 0, 1) },
		func() operation { return w.commit(rng, group, topic, partition) },
		func() operation { return w.offsets(group, topic, partition) },
		func() operation { return w.initProducer(rng, id) },
		func() operation { return w.initProducer(rng, id) },
		func() operation { return w.transactional(rng, id, topic, partition) },
		func() operation { return w.transactional(rng, id, topic, partition) },
		func() operation { return w.txnOffsets(id, group, topic, partition) },
		func() operation { return w.endTxn(rng, id) },
		func() operation { return w.endTxn(rng, id) },
		func() operation { return w.deleteRecords(topic, partition, pick(rng, int64(-1), 0, 1, 100)) },
	}
	if !w.right {
		kinds = append(kinds,
			func() operation { return w.createAlike(rng) },
			func() operation { return w.createPartitions(topic, pick(rng, int32(1), 2, 3), rng.IntN(3) == 0) },
			func() operation { return w.describeGroup(group) },
			func() operation { return w.deleteGroup(group) },
			func() operation {
				return w.describeConfig(topic, pick(rng, "cleanup.policy", "flush.ms", "max.message.bytes", "min.insync.replicas"))
			},
			func() operation { return w.leaderEpoch(topic, partition) },
			func() operation { return w.coordinator(rng, group) },
			func() operation { return w.groupErrors(rng, group) },
			func() operation { return w.configure(rng, topic) },
		)
	}
	return kinds[rng.IntN(len(kinds))]()
}

// notLeader is what Kafka says of a partition that it has just made.
var notLeader = kerr.NotLeaderForPartition.Message

// settle repeats an operation while a broker says that it is not ready: what Kafka
// does in the background is done at once elsewhere.
func settle(do func() string, busy ...string) string {
	for deadline := time.Now().Add(10 * time.Second); ; {
		out := do()
		wait := slices.ContainsFunc(busy, func(b string) bool { return strings.Contains(out, b) })
		if !wait || time.Now().After(deadline) {
			return out
		}
		<-time.After(20 * time.Millisecond)
	}
}

func (w *world) createTopic(rng *rand.Rand, topic string) operation {
	name := topic
	if rng.IntN(6) == 0 {
		name = pick(rng, "", ".", "..", "a/b", strings.Repeat("x", 250), "ä", "a b")
	}
	partitions, replicas := pick(rng, int32(1), 1, 2, 3, 0, -1), pick(rng, int16(1), 1, 1, -1, 2)
	validate := rng.IntN(5) == 0
	config, value := "", ""
	if rng.IntN(3) == 0 {
		config = pick(rng, "cleanup.policy", "retention.ms", "max.message.bytes", "no.such.config", "compression.type")
		value = pick(rng, "compact", "delete", "1000", "-5", "zstd")
	}
	if w.right {
		name, partitions, replicas, config = topic, max(partitions, 1), 1, ""
	}
	return w.newTopic(name, partitions, replicas, config, value, validate)
}

// createAlike makes topics by one request whose names differ in dots and underscores only,
// or deletes one of them.
func (w *world) createAlike(rng *rand.Rand) operation {
	names := []string{w.prefix + "x.y", w.prefix + "x_y"}
	if rng.IntN(3) == 0 {
		return w.deleteTopic(pick(rng, names...))
	}
	names, validate := names[rng.IntN(2):], rng.IntN(4) == 0
	return operation{text: fmt.Sprintf("CreateTopics %q validate %v", names, validate), do: func(b *broker) string {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.TimeoutMillis, req.ValidateOnly = 7, 5000, validate
		for _, name := range names {
			t := kmsg.NewCreateTopicsRequestTopic()
			t.Topic, t.NumPartitions, t.ReplicationFactor = name, 1, 1
			req.Topics = append(req.Topics, t)
		}
		var codes []string
		for _, got := range b.ask(req).(*kmsg.CreateTopicsResponse).Topics {
			codes = append(codes, got.Topic+" "+codeName(got.ErrorCode))
			if got.ErrorCode == 0 && !validate {
				b.await(got.Topic, true)
			}
		}
		slices.Sort(codes) // Kafka answers in an order of its own
		return fmt.Sprint(codes)
	}}
}

func (w *world) newTopic(name string, partitions int32, replicas int16, config, value string, validate bool) operation {
	text := fmt.Sprintf("CreateTopics %q partitions %d replicas %d %s=%s validate %v", name, partitions, replicas, config, value, validate)
	return operation{text: text, do: func(b *broker) string {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Version, req.TimeoutMillis, req.ValidateOnly = 7, 5000, validate
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
		if config != "" {
			t.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: config, Value: &value}}
		}
		req.Topics = append(req.Topics, t)
		got := b.ask(req).(*kmsg.CreateTopicsResponse).Topics[0]
		if got.ErrorCode != 0 || validate {
			return codeName(got.ErrorCode)
		}
		b.await(name, true)
		return fmt.Sprint("ok ", got.NumPartitions, " ", got.ReplicationFactor)
	}}
}

// await waits until a topic is known, or is not.
func (b *broker) await(topic string, there bool) {
	settle(func() string {
		if (b.describe(topic) != nil) == there {
			return "done"
		}
		return "busy"
	}, "busy")
}

func (b *broker) describe(topic string) *kmsg.MetadataResponseTopic {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 9
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = &topic
	req.Topics = append(req.Topics, t)
	got := b.ask(req).(*kmsg.MetadataResponse).Topics
	if len(got) != 1 || got[0].ErrorCode != 0 {
		return nil
	}
	for _, p := range got[0].Partitions {
		if p.ErrorCode != 0 {
			return nil
		}
	}
	return &got[0]
}

func (w *world) metadata(topic string) operation {
	return operation{reads: true, text: "Metadata " + topic, do: func(b *broker) string {
		req := kmsg.NewPtrMetadataRequest()
		req.Version = 12
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &topic
		req.Topics = append(req.Topics, t)
		got := b.ask(req).(*kmsg.MetadataResponse).Topics[0]
		return fmt.Sprint(codeName(got.ErrorCode), " ", len(got.Partitions), " ", got.IsInternal)
	}}
}

func (w *world) deleteTopic(topic string) operation {
	return operation{text: "DeleteTopics " + topic, do: func(b *broker) string {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TimeoutMillis = 6, 5000
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &topic
		req.Topics = append(req.Topics, t)
		code := b.ask(req).(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode
		if code == 0 {
			b.await(topic, false)
		}
		return codeName(code)
	}}
}

func (w *world) createPartitions(topic string, count int32, validate bool) operation {
	return operation{text: fmt.Sprintf("CreatePartitions %s %d validate %v", topic, count, validate), do: func(b *broker) string {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.TimeoutMillis, req.ValidateOnly = 3, 5000, validate
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = topic, count
		req.Topics = append(req.Topics, t)
		code := b.ask(req).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode
		if code == 0 && !validate {
			settle(func() string {
				if d := b.describe(topic); d != nil && len(d.Partitions) == int(count) {
					return "done"
				}
				return "busy"
			}, "busy")
		}
		return codeName(code)
	}}
}

func (w *world) configure(rng *rand.Rand, topic string) operation {
	name := pick(rng, "cleanup.policy", "retention.ms", "max.message.bytes", "nothing", "min.insync.replicas", "compression.type")
	value := pick(rng, "compact", "delete", "compact,delete", "100000", "-1", "x", "gzip", "")
	op := pick(rng, kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract)
	validate := rng.IntN(3) == 0
	return operation{text: fmt.Sprintf("IncrementalAlterConfigs %s %s %s=%q validate %v", topic, op, name, value, validate), do: func(b *broker) string {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version, req.ValidateOnly = 1, validate
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Op: op, Value: &value}}
		req.Resources = append(req.Resources, r)
		return codeName(b.ask(req).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode)
	}}
}

func (w *world) describeConfig(topic, name string) operation {
	return operation{reads: true, text: fmt.Sprintf("DescribeConfigs %s %s", topic, name), do: func(b *broker) string {
		return settle(func() string {
			req := kmsg.NewPtrDescribeConfigsRequest()
			req.Version = 4
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{name}
			req.Resources = append(req.Resources, r)
			got := b.ask(req).(*kmsg.DescribeConfigsResponse).Resources[0]
			out := codeName(got.ErrorCode)
			for _, c := range got.Configs {
				value := ""
				if c.Value != nil {
					value = *c.Value
				}
				out += fmt.Sprintf(" %s=%s %v %v", c.Name, value, c.Source == kmsg.ConfigSourceDynamicTopicConfig, c.ReadOnly)
			}
			return out
		})
	}}
}

func (w *world) deleteRecords(topic string, partition int32, offset int64) operation {
	end := w.listOffsets(topic, partition, -1, 0)
	return operation{first: &end, text: fmt.Sprintf("DeleteRecords %s-%d to %d", topic, partition, offset), do: func(b *broker) string {
		req := kmsg.NewPtrDeleteRecordsRequest()
		req.Version, req.TimeoutMillis = 2, 5000
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		t.Partitions = []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}}
		req.Topics = append(req.Topics, t)
		got := b.ask(req).(*kmsg.DeleteRecordsResponse).Topics[0].Partitions[0]
		return fmt.Sprint(codeName(got.ErrorCode), " ", got.LowWatermark)
	}}
}

// born is the time of first records: the same for both brokers, however long one takes.
var born = time.Now().UnixMilli()

// batchOf is a batch of records KEY or no key, with one value each.
func batchOf(keys ...string) recordbatch.Batch {
	var b recordbatch.Builder
	for i, k := range keys {
		key := []byte(k)
		if k == "" {
			key = nil
		}
		b.Append(born+int64(i), key, fmt.Appendf(nil, "value %d", i), nil)
	}
	return b.Batch()
}

// timedBatch is a batch of one record of a time.
func timedBatch(ms int64) recordbatch.Batch {
	var b recordbatch.Builder
	b.Append(ms, []byte("k"), []byte("later"), nil)
	return b.Batch()
}

// produce writes a batch without a producer, of which one in three is wrong.
func (w *world) produce(rng *rand.Rand, topic string, partition int32) operation {
	fault := pick(rng, "", "", "", "", "null key", "crc", "count", "control", "two", "acks", "sequence without producer", "transactional without producer",
		"codec 5", "no gzip", "record length", "missing record", "record behind", "header count",
		"append time", "append time ahead", "time ahead", "largest time")
	acks := pick(rng, int16(-1), -1, 1)
	if w.right {
		fault = ""
	}
	if fault == "acks" {
		acks = 5
	}
	return operation{text: fmt.Sprintf("Produce %s-%d acks %d %s", topic, partition, acks, fault), do: func(b *broker) string {
		batch := batchOf("k1", "k2")
		if fault == "null key" {
			batch = batchOf("k1", "")
		}
		switch fault {
		case "count":
			batch[57+3]++ // the number of records
		case "control":
			batch[22] |= 1 << 5
		case "transactional without producer":
			batch[22] |= 1 << 4
		case "sequence without producer":
			batch[56] = 5
		case "codec 5":
			batch[22] |= 5
		case "no gzip":
			batch[22] |= 1
		case "record length":
			batch[recordbatch.HeaderSize] += 40
		case "missing record": // both counts say that there are three
			batch[57+3]++
			batch[23+3]++
		case "record behind": // both say that there is one
			batch[57+3]--
			batch[23+3]--
		case "header count":
			batch[len(batch)-1] = 4
		case "append time": // its own times are kept
			batch.SetLogAppendTime(born + 5)
		case "append time ahead":
			batch.SetLogAppendTime(born + 1<<40)
		case "time ahead":
			batch = timedBatch(born + 1<<40)
		case "largest time":
			batch.SetCreateTime(born + 1<<40)
		}
		batch.SetCRC()
		records := []byte(batch)
		switch fault {
		case "crc":
			records[len(records)-1] ^= 1
		case "two":
			records = append(records, records...)
		}
		return settle(func() string { return b.produce(topic, partition, acks, nil, records) }, notLeader)
	}}
}

func produceOf(topic string, partition int32, acks int16, id *string, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis, req.TransactionID = 9, acks, 5000, id
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func (b *broker) produce(topic string, partition int32, acks int16, id *string, records []byte) string {
	got := b.ask(produceOf(topic, partition, acks, id, records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	out := codeName(got.ErrorCode)
	if got.ErrorCode == 0 {
		return fmt.Sprintf("%s at %d, log start %d", out, got.BaseOffset, got.LogStartOffset)
	}
	for _, r := range got.ErrorRecords {
		out += fmt.Sprint(" record ", r.RelativeOffset)
	}
	return out
}

func (w *world) listOffsets(topic string, partition int32, at int64, isolation int8) operation {
	return operation{reads: true, text: fmt.Sprintf("ListOffsets %s-%d at %d isolation %d", topic, partition, at, isolation), do: func(b *broker) string {
		return settle(func() string {
			req := kmsg.NewPtrListOffsetsRequest()
			req.Version, req.IsolationLevel, req.ReplicaID = 8, isolation, -1
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = topic
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, at, -1
			t.Partitions = append(t.Partitions, p)
			req.Topics = append(req.Topics, t)
			got := b.ask(req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
			return fmt.Sprint(codeName(got.ErrorCode), " ", got.Offset, " ", got.Timestamp >= 0)
		}, kerr.OffsetNotAvailable.Message, notLeader)
	}}
}

func (w *world) fetch(topic string, partition int32, offset int64, isolation int8) operation {
	return operation{reads: true, text: fmt.Sprintf("Fetch %s-%d from %d isolation %d", topic, partition, offset, isolation), do: func(b *broker) string {
		return settle(func() string { return b.fetch(topic, partition, offset, isolation) }, notLeader)
	}}
}

func (b *broker) fetch(topic string, partition int32, offset int64, isolation int8) string {
	return b.fetchWaiting(topic, partition, offset, isolation, 0)
}

// fetchWaiting waits for records, at most so many milliseconds.
func (b *broker) fetchWaiting(topic string, partition int32, offset int64, isolation int8, waitMs int32) string {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionEpoch, req.IsolationLevel = 11, 1<<20, -1, isolation
	req.MaxWaitMillis, req.MinBytes = waitMs, 1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch = partition, offset, 1<<20, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	got := b.ask(req).(*kmsg.FetchResponse).Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		return codeName(got.ErrorCode)
	}
	out := fmt.Sprintf("high %d stable %d start %d:", got.HighWatermark, got.LastStableOffset, got.LogStartOffset)
	for rest := got.RecordBatches; len(rest) > 0; {
		batch, more, err := recordbatch.Split(rest)
		if err != nil {
			return out + " " + err.Error()
		}
		rest = more
		out += fmt.Sprintf(" [%d+%d %s control %v", batch.BaseOffset(), batch.LastOffsetDelta(), b.names.producer(batch.ProducerID()), batch.IsControl())
		if !batch.IsControl() { // those have the time of their broker
			out += fmt.Sprintf(" append time %v, at most %d", batch.IsLogAppendTime(), batch.MaxTimestamp()-born)
		}
		out += "]"
	}
	var aborted []string
	for _, a := range got.AbortedTransactions {
		aborted = append(aborted, fmt.Sprintf("%s from %d", b.names.producer(a.ProducerID), a.FirstOffset))
	}
	slices.Sort(aborted)
	return fmt.Sprint(out, " aborted ", aborted)
}

func (w *world) leaderEpoch(topic string, partition int32) operation {
	return operation{reads: true, text: fmt.Sprintf("OffsetForLeaderEpoch %s-%d", topic, partition), do: func(b *broker) string {
		return settle(func() string {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.Version, req.ReplicaID = 3, -1
			t := kmsg.NewOffsetForLeaderEpochRequestTopic()
			t.Topic = topic
			p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
			p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = partition, -1, 1_000_000
			t.Partitions = append(t.Partitions, p)
			req.Topics = append(req.Topics, t)
			got := b.ask(req).(*kmsg.OffsetForLeaderEpochResponse).Topics[0].Partitions[0]
			return fmt.Sprint(codeName(got.ErrorCode), " ", got.EndOffset)
		}, notLeader)
	}}
}
