package differential

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// txnScripts are what happens to one transactional id. A producer is written as its
// name and its epoch, P1/0: the first id that was given out is P1. What each line is,
// txnTalk.do says.
var txnScripts = map[string]string{
	"the other end, newer protocol": `
		init
		write P1/0
		end 5 P1/0 abort
		end 5 P1/0 commit
		end 4 P1/0 commit
		end 5 P1/1 commit
		end 4 P1/1 commit
		end 5 P1/0 abort
		end 4 P1/0 abort
		end 5 P1/1 abort
		write P1/2
		end 5 P1/2 commit
		end 5 P1/2 abort
		end 5 P1/3 commit
		end 5 P1/2 commit
		end 5 P1/3 abort`,
	"the other end, older protocol": `
		init
		add P1/0
		write P1/0 older
		end 4 P1/0 abort
		end 4 P1/0 commit
		end 5 P1/0 commit
		end 4 P1/0 abort
		add P1/0
		end 4 P1/0 commit
		end 4 P1/0 abort
		end 5 P1/0 abort`,
	"commit after a time-out": `
		init 300
		write P1/0
		await CompleteAbort
		end 4 P1/0 commit
		end 5 P1/0 commit
		end 5 P1/1 commit
		end 5 P1/2 commit
		write P1/0
		write P1/1`,
	"abort after a time-out": `
		init 300
		write P1/0
		await CompleteAbort
		end 4 P1/0 abort
		end 4 P1/1 abort
		end 5 P1/0 abort
		end 5 P1/1 abort
		state`,
	"older protocol after a time-out": `
		init 300
		add P1/0
		await CompleteAbort
		end 4 P1/0 abort
		end 4 P1/0 commit
		end 4 P1/1 abort
		end 4 P1/1 commit
		end 5 P1/0 commit
		end 5 P1/1 commit`,
	"a new epoch after a time-out": `
		init 300
		write P1/0
		await CompleteAbort
		init as P1/0
		init as P1/1
		state`,
	"the last epoch again after a time-out": `
		init 300
		write P1/0
		await CompleteAbort
		init as P1/0
		state
		end 5 P1/0 commit
		end 5 P1/0 abort
		write P1/1
		end 5 P1/1 commit
		init as P1/1
		state`,
	"taken over while open": `
		init
		write P1/0
		init
		state
		end 5 P1/0 commit
		end 5 P1/1 abort
		end 5 P1/2 commit
		end 4 P1/0 commit
		end 4 P1/1 abort
		init as P1/0
		init as P1/1
		init
		state`,
	"taken over while open, older protocol": `
		init
		add P1/0
		init
		state
		add P1/1
		add P1/2
		end 4 P1/2 commit
		add P1/2
		init
		state`,
	"taken over by who held it, while open": `
		init
		write P1/0
		init as P1/0
		state
		init as P1/1
		init
		state`,
	"a new epoch of one's own": `
		init
		init as P1/0
		init as P1/0
		write P1/1
		end 5 P1/1 commit
		init as P1/2
		init as P1/2
		init as P1/1
		init as P1/3
		write P1/4
		end 5 P1/3 abort
		state`,
	"abort of nothing": `
		init
		end 5 P1/0 commit
		end 4 P1/0 abort
		end 5 P1/0 abort
		end 5 P1/0 abort
		end 5 P1/0 commit
		init as P1/0
		init as P1/1
		state`,
	"the old one is heard before the new one asks again": `
		init
		write P1/0
		first init
		state
		end 5 P1/0 commit
		end 5 P1/0 abort
		end 4 P1/0 commit
		end 4 P1/0 abort
		end 5 P1/1 commit
		end 4 P1/1 commit
		end 4 P1/1 abort
		add P1/0
		write P1/0
		write P1/0 older
		init
		state`,
	"the old one asks before the new one asks again": `
		init
		write P1/0
		first init
		init as P1/0
		state
		write P1/1
		first init
		state
		init as P1/0
		init
		state`,
	"the epoch of the abort is said to be held": `
		init
		write P1/0
		first init
		init as P1/1
		state
		init as P1/0
		init as P1/1
		state`,
	"the epoch of the abort is used": `
		init
		write P1/0
		first init
		write P1/1
		state
		first init
		state
		end 5 P1/2 abort
		state
		init
		state`,
	"the epoch of the abort is used, older protocol": `
		init
		add P1/0
		first init
		state
		add P1/1
		first init
		state
		init
		state`,
	"who holds it asks, and again": `
		init
		write P1/0
		first init as P1/0
		state
		end 5 P1/0 abort
		init as P1/0
		state
		write P1/1
		first init as P1/1 4
		state
		init as P1/1 4
		write P1/2
		first init as P1/2 3
		init as P1/2 3
		init as P1/2 3
		init as P1/3
		state`,
	"who holds it asks, and then another": `
		init
		add P1/0
		write P1/0 older
		first init as P1/0 3
		state
		init
		init as P1/0
		state`,
}

// txnTalk is one transactional id at one broker.
type txnTalk struct {
	*broker
	id, topic string
}

// producerOf reads a producer as scripts write it.
func (c *txnTalk) producerOf(text string) (int64, int16) {
	name, epoch, _ := strings.Cut(text, "/")
	for id, known := range c.names.producers {
		if known == name {
			var n int16
			_, _ = fmt.Sscan(epoch, &n)
			return id, n
		}
	}
	return 1 << 40, 0
}

// answer is a code with the producer that was given out.
func (c *txnTalk) answer(code int16, id int64, epoch int16) string {
	if code != 0 || id < 0 {
		return codeName(code)
	}
	return fmt.Sprintf("ok %s/%d", c.names.producer(id), epoch)
}

// do carries out a line of a script. One that begins with "first" is answered once: else
// who is told to ask again does.
func (c *txnTalk) do(line string) string {
	f := strings.Fields(line)
	c.doing = line
	busy := append(slices.Clone(busyTxn), "Prepare", "busy", notLeader)
	if f[0] == "first" {
		f, busy = f[1:], nil
	}
	return settle(func() string {
		switch f[0] {
		case "init": // of nobody, or "as" a holder, of a version; or with a time-out
			return c.init(f)
		case "add":
			req := kmsg.NewPtrAddPartitionsToTxnRequest()
			req.Version, req.TransactionalID = 3, c.id
			req.ProducerID, req.ProducerEpoch = c.producerOf(f[1])
			req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: c.topic, Partitions: []int32{0}}}
			return codeName(c.ask(req).(*kmsg.AddPartitionsToTxnResponse).Topics[0].Partitions[0].ErrorCode)
		case "write": // by the newer protocol, or the older
			return c.write(f)
		case "end":
			req := kmsg.NewPtrEndTxnRequest()
			_, _ = fmt.Sscan(f[1], &req.Version)
			req.TransactionalID, req.Commit = c.id, f[3] == "commit"
			req.ProducerID, req.ProducerEpoch = c.producerOf(f[2])
			got := c.ask(req).(*kmsg.EndTxnResponse)
			if req.Version < 5 {
				return codeName(got.ErrorCode)
			}
			return c.answer(got.ErrorCode, got.ProducerID, got.ProducerEpoch)
		}
		got := c.state() // "state", or "await" one
		if f[0] == "await" && !strings.HasPrefix(got, f[1]) {
			return "busy"
		}
		return got
	}, busy...)
}

func (c *txnTalk) state() string {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{c.id}
	got := c.ask(req).(*kmsg.DescribeTransactionsResponse).TransactionStates[0]
	return fmt.Sprintf("%s %s/%d", got.State, c.names.producer(got.ProducerID), got.ProducerEpoch)
}

func (c *txnTalk) init(f []string) string {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis, req.ProducerID, req.ProducerEpoch = 5, &c.id, 60_000, -1, -1
	switch len(f) {
	case 2:
		_, _ = fmt.Sscan(f[1], &req.TransactionTimeoutMillis)
	case 4:
		_, _ = fmt.Sscan(f[3], &req.Version)
		fallthrough
	case 3:
		req.ProducerID, req.ProducerEpoch = c.producerOf(f[2])
	}
	got := c.ask(req).(*kmsg.InitProducerIDResponse)
	return c.answer(got.ErrorCode, got.ProducerID, got.ProducerEpoch)
}

func (c *txnTalk) write(f []string) string {
	pid, epoch := c.producerOf(f[1])
	batch := batchOf("k")
	batch.SetProducer(pid, epoch, 0, true)
	batch.SetCRC()
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis, req.TransactionID = 12, -1, 5000, &c.id
	if len(f) > 2 {
		req.Version = 11
	}
	t := kmsg.NewProduceRequestTopic()
	t.Topic = c.topic
	p := kmsg.NewProduceRequestTopicPartition()
	p.Records = batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return codeName(c.ask(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// TestTransactionsAsApacheKafka: the same happens to a transactional id, and its
// epochs rise as far.
func TestTransactionsAsApacheKafka(t *testing.T) {
	asApacheKafka(t, txnScripts, func(b *broker, unique string) func(line string) string {
		c := &txnTalk{broker: b, id: unique, topic: "txns-" + unique}
		newWorld("", false).newTopic(c.topic, 1, 1, "", "", false).do(b)
		return c.do
	})
}

// kafkaAddress is that of an Apache Kafka; without one the test is skipped.
func kafkaAddress(t *testing.T) string {
	t.Helper()
	addr := os.Getenv("LEVADA_KAFKA")
	if addr == "" {
		t.Skip("LEVADA_KAFKA names no broker of Apache Kafka: make kafka starts one")
	}
	return addr
}

// asApacheKafka has both brokers answer each script, line by line. begin is called for each
// of both, with a name that was not used before.
func asApacheKafka(t *testing.T, scripts map[string]string, begin func(b *broker, unique string) (do func(line string) string)) {
	t.Helper()
	addr := kafkaAddress(t)
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			var told [2][]string
			for i, b := range []*broker{dialBroker(t, "Levada", startLevada(t)), dialBroker(t, kafkaName, addr)} {
				do := begin(b, fmt.Sprintf("%d-%s", time.Now().UnixNano(), strings.ReplaceAll(name, " ", "-")))
				for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
					line = strings.TrimSpace(line)
					told[i] = append(told[i], line+" -> "+do(line))
				}
			}
			for i, ours := range told[0] {
				if theirs := told[1][i]; ours != theirs {
					t.Errorf("Levada: %s\nApache Kafka: %s", ours, theirs)
				} else {
					t.Log(ours)
				}
			}
		})
	}
}
