package differential

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// pipelineScripts are requests that are sent at once, a line each, and what they are
// answered: f is a fetch of the second record that waits for it, p a produce.
var pipelineScripts = map[string]string{
	"a produce behind a fetch that waits":  `f p f`,
	"a fetch that waits behind a produce":  `p f p f`,
	"a produce behind fetches that waited": `f f p p f`,
}

// pipelined sends requests at once.
func (b *broker) pipelined(topic, line string) (out string) {
	var reqs []kmsg.Request
	var all []byte
	for _, word := range strings.Fields(line) {
		var req kmsg.Request
		if word == "f" {
			fetch := kmsg.NewPtrFetchRequest()
			fetch.Version, fetch.MaxBytes, fetch.SessionEpoch, fetch.MinBytes, fetch.MaxWaitMillis = 11, 1<<20, -1, 1, 300
			p := kmsg.NewFetchRequestTopicPartition()
			p.FetchOffset, p.PartitionMaxBytes = 1, 1<<20
			fetch.Topics = []kmsg.FetchRequestTopic{{Topic: topic, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
			req = fetch
		} else {
			req = produceOf(topic, 0, -1, nil, timed("k"))
		}
		reqs, all = append(reqs, req), append(all, b.frame(req)...)
	}
	_ = b.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := b.conn.Write(all); err != nil {
		b.t.Fatal(err)
	}
	for _, req := range reqs {
		resp, err := b.receive(req)
		if err != nil {
			b.t.Fatalf("%s: %v", b.name, err)
		}
		switch resp := resp.(type) {
		case *kmsg.FetchResponse:
			p := resp.Topics[0].Partitions[0]
			out += fmt.Sprintf("%s, records %v; ", codeName(p.ErrorCode), len(p.RecordBatches) > 0)
		case *kmsg.ProduceResponse:
			out += told(resp) + "; "
		}
	}
	return out
}

// TestPipelinesAsApacheKafka: a request is not begun before a fetch in front of it has been
// answered.
func TestPipelinesAsApacheKafka(t *testing.T) {
	asApacheKafka(t, pipelineScripts, func(b *broker, unique string) func(line string) string {
		topic := "l" + unique
		newWorld("", false).newTopic(topic, 1, 1, "", "", false).do(b)
		// The partition is served before it is asked.
		settle(func() string { return b.produce(topic, 0, -1, nil, timed("k")) }, notLeader)
		return func(line string) string { return b.pipelined(topic, line) }
	})
}
