package logbroker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// aProduce is a random request of some topics and partitions.
func aProduce(rng *rand.Rand, version int16) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = version, int16(rng.IntN(3)-1), rng.Int32()
	if id := "an id"; version >= 3 && rng.IntN(2) == 0 {
		req.TransactionID = &id
	}
	for topic := range rng.IntN(4) {
		t := kmsg.NewProduceRequestTopic()
		if version >= 13 {
			t.TopicID[0] = byte(topic + 1)
		} else {
			t.Topic = string(rune('a' + topic))
		}
		for range rng.IntN(6) {
			p := kmsg.NewProduceRequestTopicPartition()
			p.Partition = rng.Int32N(1000)
			if size := rng.IntN(400); size > 20 {
				p.Records = make([]byte, size)
				for i := range p.Records {
					p.Records[i] = byte(rng.Uint32())
				}
			}
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req
}

// joined puts the parts of a body together again. Topics without partitions are no
// part of any.
func joined(body []byte, version int16, read, size int) (*kmsg.ProduceRequest, int, error) {
	r := bufio.NewReaderSize(bytes.NewReader(body[read:]), 16)
	parts := newProduceParts(r, new(frames), bytes.Clone(body[:read]), nil, len(body)-read, version, 9, size)
	parts.rest = parts.buf
	whole := kmsg.NewPtrProduceRequest()
	n := 0
	for !parts.done {
		part, err := parts.next()
		if err != nil {
			return nil, n, err
		}
		n++
		whole.Version, whole.TransactionID, whole.Acks, whole.TimeoutMillis = part.Version, part.TransactionID, part.Acks, part.TimeoutMillis
		for _, t := range part.Topics {
			for i := range t.Partitions {
				t.Partitions[i].Records = bytes.Clone(t.Partitions[i].Records)
			}
			if n := len(whole.Topics); n > 0 && sameTopic(whole.Topics[n-1].Topic, whole.Topics[n-1].TopicID, t.Topic, t.TopicID) {
				whole.Topics[n-1].Partitions = append(whole.Topics[n-1].Partitions, t.Partitions...)
				continue
			}
			whole.Topics = append(whole.Topics, t)
		}
	}
	return whole, n, nil
}

// TestProduceParts: the parts of a request, whatever their size, are together what
// the decoder reads, in every version; cut anywhere or changed it is refused, or read
// in another way, but never waited for.
func TestProduceParts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	several := 0
	for version := int16(0); version <= 13; version++ {
		for range 60 {
			req := aProduce(rng, version)
			body := req.AppendTo(nil)
			want := kmsg.NewPtrProduceRequest()
			want.Version = version
			if err := want.ReadFrom(bytes.Clone(body)); err != nil {
				t.Fatal(err)
			}
			want.Topics, _ = split(want.Topics, func(t *kmsg.ProduceRequestTopic) bool { return len(t.Partitions) > 0 })
			got, n, err := joined(body, version, rng.IntN(len(body)+1), 1+rng.IntN(600))
			if err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
			if n > 1 {
				several++
			}
			if d := cmp.Diff(want, got, cmp.AllowUnexported(kmsg.Tags{})); d != "" {
				t.Fatalf("version %d, %d parts: %s", version, n, d)
			}
			cut := rng.IntN(len(body))
			if _, _, err := joined(body[:cut], version, rng.IntN(cut+1), 1+rng.IntN(600)); err == nil {
				t.Errorf("version %d: %d of %d bytes were taken", version, cut, len(body))
			}
			body[rng.IntN(len(body))] ^= byte(1 << rng.IntN(8))
			_, _, _ = joined(body, version, len(body), 64)
		}
	}
	if several < 300 {
		t.Errorf("only %d requests had more than one part", several)
	}
}

// TestPartsAreBounded: a request is in memory a part at a time, and the number of
// its elements is bounded.
func TestPartsAreBounded(t *testing.T) {
	req := kmsg.NewPtrProduceRequest()
	req.Version = 9
	topic := kmsg.NewProduceRequestTopic()
	for range 400 {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Records = make([]byte, 50_000)
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	body := req.AppendTo(nil)
	parts := newProduceParts(bufio.NewReader(bytes.NewReader(body)), new(frames), nil, nil, len(body), 9, 9, 1<<20)
	partitions := 0
	for !parts.done {
		part, err := parts.next()
		if err != nil {
			t.Fatal(err)
		}
		for _, t := range part.Topics {
			partitions += len(t.Partitions)
		}
		if cap(parts.buf) > 1<<20 {
			t.Fatalf("%d bytes are held", cap(parts.buf))
		}
	}
	if partitions != 400 {
		t.Errorf("%d partitions", partitions)
	}

	for range maxElements {
		req.Topics = append(req.Topics, kmsg.NewProduceRequestTopic())
	}
	body = req.AppendTo(nil)
	if _, _, err := joined(body, 9, len(body), 1<<20); err == nil {
		t.Error("more elements than may be were taken")
	}
}

// roundTrip sends a request over a connection and reads its answer.
func roundTrip(t *testing.T, conn net.Conn, req kmsg.Request, answer kmsg.Response) {
	t.Helper()
	if _, err := conn.Write(framed(frameOf(req))); err != nil {
		t.Fatal(err)
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	answer.SetVersion(req.GetVersion())
	if err := answer.ReadFrom(body[5:]); err != nil { // behind the correlation id and no tags
		t.Fatal(err)
	}
}

// TestLargeProduce: each partition of a request of several parts is answered, in its
// place and with its own error, and the records are there.
func TestLargeProduce(t *testing.T) {
	_, connect := dial(t, Config{})
	conn := connect()
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version = 5
	for _, name := range []string{"a", "b"} {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 8, 1
		create.Topics = append(create.Topics, topic)
	}
	roundTrip(t, conn, create, kmsg.NewPtrCreateTopicsResponse())

	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, 1000
	for _, name := range []string{"a", "none", "b"} {
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic = name
		for p := range int32(9) { // there are eight
			partition := kmsg.NewProduceRequestTopicPartition()
			partition.Partition, partition.Records = p, oneRecord(-1, -1, -1, false, strings.Repeat("x", 600_000))
			topic.Partitions = append(topic.Partitions, partition)
		}
		req.Topics = append(req.Topics, topic)
	}
	for round := range int64(3) {
		answer := kmsg.NewPtrProduceResponse()
		roundTrip(t, conn, req, answer)
		if len(answer.Topics) != 3 {
			t.Fatalf("%d topics are answered", len(answer.Topics))
		}
		for i, topic := range answer.Topics {
			if topic.Topic != req.Topics[i].Topic || len(topic.Partitions) != 9 {
				t.Fatalf("topic %d is %s with %d partitions", i, topic.Topic, len(topic.Partitions))
			}
			for j, p := range topic.Partitions {
				want, offset := int16(0), round
				if topic.Topic == "none" || j == 8 {
					want, offset = kerr.UnknownTopicOrPartition.Code, -1
				}
				if p.Partition != int32(j) || p.ErrorCode != want || p.BaseOffset != offset {
					t.Errorf("round %d, %s: %+v", round, topic.Topic, p)
				}
			}
		}
	}
	req.Acks = 0 // no answer: the next one is that to the next request
	if _, err := conn.Write(framed(frameOf(req))); err != nil {
		t.Fatal(err)
	}
	ends := kmsg.NewPtrListOffsetsRequest()
	ends.Version, ends.ReplicaID = 6, -1
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = "b"
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Partition, partition.Timestamp = 7, -1
	topic.Partitions = append(topic.Partitions, partition)
	ends.Topics = append(ends.Topics, topic)
	end := int64(0)
	for began := time.Now(); end != 4 && time.Since(began) < 10*time.Second; { // the high watermark follows the sync in the background
		answer := kmsg.NewPtrListOffsetsResponse()
		roundTrip(t, conn, ends, answer)
		end = answer.Topics[0].Partitions[0].Offset
	}
	if end != 4 {
		t.Errorf("without acks: the end of b is %d", end)
	}
}
