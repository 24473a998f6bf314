package differential

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// quotaScripts are what a client is told that fetches more than it may, or has worked on more. What each line
// is, quotaTalk.do says.
var quotaScripts = map[string]string{
	"more than the limit": `
		write 3 2500
		limit 1000
		fetch
		write 1 2500
		refused
		fetch
		fetch`,
	"a session": `
		write 3 2500
		limit 1000
		fetch session
		write 1 2500
		refused session
		fetch session
		write 1 1
		fetch session`,
	"a session that does not begin": `
		write 3 2500
		limit 1000
		fetch
		write 1 2500
		refused session
		fetch session
		fetch session`,
	"more time than the limit": `
		write 1 10
		share 0.00001
		refused
		share none
		fetch`,
	"a session over the time": `
		write 1 10
		fetch session
		share 0.00001
		write 1 10
		refused session
		share none
		fetch session`,
}

// quotaTalk is one client that reads a partition at one broker.
type quotaTalk struct {
	*broker
	topic          string
	next           int64 // offset
	session, epoch int32
}

// do carries out a line of a script.
func (c *quotaTalk) do(line string) string {
	f := strings.Fields(line)
	c.doing = line
	n := 0
	if len(f) > 1 {
		_, _ = fmt.Sscan(f[1], &n)
	}
	switch f[0] {
	case "write": // COUNT BYTES: batches of one record
		size, out := 0, ""
		_, _ = fmt.Sscan(f[2], &size)
		for range n {
			var b recordbatch.Builder
			b.Append(born, nil, make([]byte, size), nil)
			batch := b.Batch()
			batch.SetCRC()
			out = settle(func() string { return c.produce(c.topic, 0, -1, nil, batch) }, notLeader)
		}
		return out
	case "limit": // BYTES a second
		return c.limit("consumer_byte_rate", float64(n), false)
	case "share": // PERCENT of the broker's time, or none
		var percent float64
		_, _ = fmt.Sscan(f[1], &percent)
		return c.limit("request_percentage", percent, f[1] == "none")
	case "refused": // [session]: is given nothing, and has to wait
		return c.fetchOnce(f[1:])
	}
	for { // "fetch [session]", again where it is refused
		if got := c.fetchOnce(f[1:]); !strings.HasPrefix(got, "refused") {
			return got
		}
	}
}

func (c *quotaTalk) limit(key string, value float64, remove bool) string {
	req := kmsg.NewPtrAlterClientQuotasRequest()
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	entry.Entity = []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "client-id", Name: &c.client}}
	entry.Ops = []kmsg.AlterClientQuotasRequestEntryOp{{Key: key, Value: value, Remove: remove}}
	req.Entries = append(req.Entries, entry)
	code := codeName(c.ask(req).(*kmsg.AlterClientQuotasResponse).Entries[0].ErrorCode)
	settle(func() string {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Components = []kmsg.DescribeClientQuotasRequestComponent{{EntityType: "client-id", Match: &c.client}}
		if len(c.ask(req).(*kmsg.DescribeClientQuotasResponse).Entries) > 0 != remove {
			return "done"
		}
		return "busy"
	}, "busy")
	return code
}

func (c *quotaTalk) fetchOnce(how []string) string {
	how = append([]string{"fetch", ""}, how...)
	_, given := options(how, "session")
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.MaxBytes, req.SessionEpoch, req.MinBytes = 11, 1<<20, -1, 1
	if given["session"] != nil {
		req.SessionID, req.SessionEpoch = c.session, c.epoch
	}
	t := kmsg.NewFetchRequestTopic()
	t.Topic = c.topic
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = c.next, 1<<20
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	got := c.ask(req).(*kmsg.FetchResponse)
	out := codeName(got.ErrorCode)
	if got.ThrottleMillis > 0 {
		out = "refused, " + out
	}
	if given["session"] != nil {
		if c.session, c.epoch = got.SessionID, c.epoch+1; got.SessionID == 0 {
			c.epoch = 0
		}
		out += fmt.Sprintf(", session %v", got.SessionID != 0)
	}
	for _, t := range got.Topics {
		for _, p := range t.Partitions {
			var offsets []int64
			for rest := p.RecordBatches; len(rest) > 0; {
				batch, more, err := recordbatch.Split(rest)
				if err != nil {
					break // Kafka sends as much of the next as there is room for
				}
				offsets, rest = append(offsets, batch.BaseOffset()), more
				c.next = batch.NextOffset()
			}
			out += fmt.Sprintf(", %s %v", codeName(p.ErrorCode), offsets)
		}
	}
	return out
}

// TestQuotasAsApacheKafka: a client that fetches more than it may is given nothing, waits,
// and goes on where it was.
func TestQuotasAsApacheKafka(t *testing.T) {
	asApacheKafka(t, quotaScripts, func(b *broker, unique string) func(line string) string {
		b.client = unique
		c := &quotaTalk{broker: b, topic: "q" + unique}
		newWorld("", false).newTopic(c.topic, 1, 1, "", "", false).do(b)
		return c.do
	})
}
