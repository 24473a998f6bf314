package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/internal/checker"
)

// partitions is how many each topic of a round has.
const partitions = 3

// opTimeout is how long a client tries one thing; the server is down for less.
const opTimeout = 20 * time.Second

// worker is what all clients of a round have in common.
type worker struct {
	r       *recorder
	rng     *rand.Rand
	address string // of the proxy
	process int
	client  *kgo.Client // nil: there is none at the moment
}

// options are those of every client: it tries again soon, and does not wait long
// for a server that is stopped.
func (w *worker) options(more ...kgo.Opt) []kgo.Opt {
	backoff := time.Duration(20+w.rng.IntN(80)) * time.Millisecond
	return append([]kgo.Opt{
		kgo.SeedBrokers(w.address),
		kgo.DialTimeout(2 * time.Second),
		kgo.RequestTimeoutOverhead(2 * time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return backoff }),
		kgo.RequestRetries(1000),
		kgo.RetryTimeout(opTimeout),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.UnknownTopicRetries(-1),
	}, more...)
}

// open makes the client if there is none.
func (w *worker) open(more ...kgo.Opt) error {
	if w.client != nil {
		return nil
	}
	client, err := kgo.NewClient(w.options(more...)...)
	if err != nil {
		return err
	}
	w.client = client
	return nil
}

// drop closes the client as if its process had died.
func (w *worker) drop() {
	if w.client != nil {
		w.client.Close()
		w.client = nil
		w.r.mark(w.process, checker.Crash)
	}
}

// pause waits up to some time, or until the context ends.
func (w *worker) pause(ctx context.Context, most time.Duration) {
	t := time.NewTimer(time.Duration(w.rng.Int64N(int64(most))))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// key names a partition.
func key(topic string, partition int32) string { return topic + "-" + strconv.Itoa(int(partition)) }

// keysOf are the keys of topics.
func keysOf(topics ...string) (keys []string) {
	for _, t := range topics {
		for p := range int32(partitions) {
			keys = append(keys, key(t, p))
		}
	}
	return keys
}

// from is the position 0 of all partitions of topics.
func from(topics ...string) map[string]map[int32]kgo.Offset {
	at := map[string]map[int32]kgo.Offset{}
	for _, t := range topics {
		at[t] = map[int32]kgo.Offset{}
		for p := range int32(partitions) {
			at[t][p] = kgo.NewOffset().At(0)
		}
	}
	return at
}

// outcome collects the answers to the records of one operation.
type outcome struct {
	mu     sync.Mutex // guards what follows, until it is sealed
	sealed bool       // answers that come now are too late
	micros []checker.Micro
	acks   []error // by record
}

var errNoAnswer = errors.New("no answer came")

// newOutcome makes room for n records at the end of an operation.
func newOutcome(op *checker.Op, n int) *outcome {
	first := len(op.Value)
	op.Value = append(op.Value, make([]checker.Micro, n)...)
	return &outcome{micros: op.Value[first:], acks: slices.Repeat([]error{errNoAnswer}, n)}
}

// send produces records with new values to partitions of the topics, at random,
// and waits for the answers. It drops the client if not all came.
func (w *worker) send(ctx context.Context, op *checker.Op, n int, topics ...string) *outcome {
	out := newOutcome(op, n)
	for i := range n {
		value := w.r.newValue()
		w.produce(ctx, out, i, topics[w.rng.IntN(len(topics))], value, strconv.FormatInt(value, 10))
	}
	if !out.wait(ctx, w.client) {
		w.drop()
	}
	return out
}

// produce sends record i of an operation to a partition of a topic.
func (w *worker) produce(ctx context.Context, out *outcome, i int, topic string, value int64, text string) {
	partition := int32(w.rng.IntN(partitions))
	out.micros[i] = checker.Micro{Key: key(topic, partition), Offset: checker.NoOffset, Value: value}
	record := &kgo.Record{Topic: topic, Partition: partition, Value: []byte(text)}
	w.client.Produce(ctx, record, func(r *kgo.Record, err error) { out.answer(i, r.Offset, err) })
}

func (o *outcome) answer(i int, offset int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sealed {
		return
	}
	o.acks[i] = err
	if err == nil {
		o.micros[i].Offset = offset
	}
}

// wait waits for the answers to all records; false: some will not come.
func (o *outcome) wait(ctx context.Context, client *kgo.Client) bool {
	err := client.Flush(ctx)
	o.mu.Lock()
	o.sealed = true
	o.mu.Unlock()
	return err == nil
}

// failed is the first error among the answers.
func (o *outcome) failed() error {
	for _, err := range o.acks {
		if err != nil {
			return err
		}
	}
	return nil
}

// payload is what is in a record: its value and, for those of the pipeline, the
// place of the record that it was made of.
func payload(record []byte) (value int64, source string, sourceOffset int64, ok bool) {
	words := strings.Fields(string(record))
	if len(words) != 1 && len(words) != 3 {
		return 0, "", 0, false
	}
	value, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return 0, "", 0, false
	}
	if len(words) == 3 {
		source = words[1]
		if sourceOffset, err = strconv.ParseInt(words[2], 10, 64); err != nil {
			return 0, "", 0, false
		}
	}
	return value, source, sourceOffset, true
}
