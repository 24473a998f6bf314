package differential

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// produceScripts are what a producer is told, of what is taken and of what is refused, by a
// partition that begins at 1. What each line is, produceTalk.do says.
var produceScripts = map[string]string{
	"in order and out of it": `
		topic
		write P1/0 seq 0
		write P1/0 seq 0
		write P1/0 seq 1
		write P1/0 seq 0
		write P1/0 seq 5
		write P1/1 seq 0
		write P1/0 seq 2
		write P1/1 seq 3
		write P2/0 seq 4
		write P1/1 seq 1
		write P1/1 seq 2
		write P1/1 seq 3
		write P1/1 seq 4
		write P1/1 seq 5
		write P1/1 seq 6
		write P1/1 seq 0`,
	"by the time of the broker": `
		topic message.timestamp.type=LogAppendTime
		write
		write P1/0 seq 0
		write P1/0 seq 0
		write P1/0 seq 5`,
	"what cannot be": `
		topic
		write fault crc
		write fault length
		write fault empty
		write fault codec
		write fault control
		write fault two
		write fault base
		write fault newer
		write fault record-length
		write version 6 fault zstd
		write fault count
		write fault magic
		write fault ahead
		write acks 5
		write partition 7
		write topic none
		write version 13 topic none
		write`,
	"too large": `
		topic max.message.bytes=100
		write fault large
		write fault large-crc
		write fault large-base
		write fault record
		write`,
	"without keys": `
		topic cleanup.policy=compact
		write fault key
		write version 7 fault key`,
	"in a transaction": `
		topic
		write T1/0 seq 0 version 11
		write T1/0 seq 0 version 10
		write T1/0 seq 0 version 9
		write T1/0 seq 0 version 12
		write T1/0 seq 5 version 12
		write T1/7 seq 0 version 12
		write T2/0 seq 0 version 12
		write T1/0 seq 1 version 12 anonymous yes
		write T1/0 seq 1 version 12 partition 7`,
}

// produceTalk is a producer of each kind at one broker.
type produceTalk struct {
	*broker
	topic, id string
	producers map[string]int64
}

// do carries out a line of a script.
func (c *produceTalk) do(line string) string {
	f := strings.Fields(line)
	c.doing = line
	if f[0] == "topic" { // [CONFIG=VALUE]: of one partition that begins at 1
		name, value := "", ""
		if len(f) > 1 {
			name, value, _ = strings.Cut(f[1], "=")
		}
		w := newWorld("", false)
		out := w.newTopic(c.topic, 1, 1, name, value, false).do(c.broker)
		settle(func() string { return c.produce(c.topic, 0, -1, nil, timed("k")) }, notLeader)
		return out + " " + w.deleteRecords(c.topic, 0, 1).do(c.broker)
	}
	words, given := options(append([]string{f[0], ""}, f[1:]...), "seq", "fault", "acks", "partition", "topic", "version", "anonymous")
	batch := timed("k")
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, 5000
	var partition int32
	for name, into := range map[string]any{"acks": &req.Acks, "partition": &partition, "version": &req.Version} {
		if given[name] != nil {
			_, _ = fmt.Sscan(*given[name], into)
		}
	}
	if len(words) > 2 { // PRODUCER/EPOCH seq NUMBER: T1 is that of the transactional id
		c.setProducer(batch, words[2], *given["seq"])
		if strings.HasPrefix(words[2], "T") && given["anonymous"] == nil {
			req.TransactionID = &c.id
		}
	}
	records := []byte(batch)
	if given["fault"] != nil {
		records = faulty(batch, *given["fault"])
	} else {
		batch.SetCRC()
	}
	t := kmsg.NewProduceRequestTopic()
	t.Topic = c.topic
	if given["topic"] != nil {
		t.Topic, t.TopicID[5] = "no-such-topic", 5
	}
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return settle(func() string { return told(c.ask(req).(*kmsg.ProduceResponse)) }, append(busyTxn, notLeader)...)
}

// setProducer makes a batch one of a producer, whose id is asked for the first time.
func (c *produceTalk) setProducer(batch recordbatch.Batch, text, seq string) {
	name, rest, _ := strings.Cut(text, "/")
	transactional := strings.HasPrefix(name, "T")
	if _, known := c.producers[name]; !known {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.Version, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 5, 60_000, -1, -1
		if name == "T1" {
			req.TransactionalID = &c.id
		}
		settle(func() string {
			got := c.ask(req).(*kmsg.InitProducerIDResponse)
			c.producers[name] = got.ProducerID
			return codeName(got.ErrorCode)
		}, busyTxn...)
	}
	epoch, number := int16(0), int32(0)
	_, _ = fmt.Sscan(rest, &epoch)
	_, _ = fmt.Sscan(seq, &number)
	batch.SetProducer(c.producers[name], epoch, number, transactional)
}

// told is all that is told of a partition, but texts.
func told(resp *kmsg.ProduceResponse) string {
	got := resp.Topics[0].Partitions[0]
	appended := "none"
	switch ms := got.LogAppendTime; {
	case ms >= born && ms <= born+50:
		appended = fmt.Sprint("of the record +", ms-born)
	case ms >= 0:
		appended = "of the broker"
	}
	out := fmt.Sprintf("%s at %d, log start %d, append time %s", codeName(got.ErrorCode), got.BaseOffset, got.LogStartOffset, appended)
	for _, r := range got.ErrorRecords {
		out += fmt.Sprint(", record ", r.RelativeOffset)
	}
	return out
}

// timed is a batch of a record of each key, whose times are those of the test.
func timed(keys ...string) recordbatch.Batch {
	batch := batchOf(keys...)
	batch.SetCRC()
	return batch
}

// faulty makes a batch one that is refused.
func faulty(batch recordbatch.Batch, fault string) []byte {
	switch fault {
	case "empty":
		return []byte{}
	case "length":
		batch[11] += 40
		return batch
	case "crc":
		batch.SetCRC()
		batch[len(batch)-1] ^= 1
		return batch
	case "base":
		batch[7] = 3
	case "newer":
		batch[16] = 3
	case "record-length":
		batch[recordbatch.HeaderSize] += 40
	case "zstd":
		batch[22] |= 4
	case "magic":
		batch[16] = 1
	case "codec":
		batch[22] |= 5
	case "control":
		batch[22] |= 1 << 5
	case "count":
		batch[57+3]++
	case "ahead":
		batch = timedBatch(born + 1<<40)
	case "key":
		batch = batchOf("k", "")
	case "large":
		batch = batchOf(strings.Repeat("k", 200))
	case "large-crc":
		return faulty(batchOf(strings.Repeat("k", 200)), "crc")
	case "large-base":
		return faulty(batchOf(strings.Repeat("k", 200)), "base")
	case "record":
		batch = batchOf("k", "k", "k", "k", "k", "k", "k", "k")
	}
	batch.SetCRC()
	if fault == "two" {
		return append(append([]byte{}, batch...), batch...)
	}
	return batch
}

// TestProducersAsApacheKafka: where the log begins, where a batch is and when it
// was appended is told as Kafka does, also of what is refused.
func TestProducersAsApacheKafka(t *testing.T) {
	asApacheKafka(t, produceScripts, func(b *broker, unique string) func(line string) string {
		c := &produceTalk{broker: b, topic: "p" + unique, id: unique, producers: map[string]int64{}}
		return c.do
	})
}
