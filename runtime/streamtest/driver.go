package streamtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/levada/levada/internal/murmur2"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// Config says what a Driver runs.
type Config struct {
	Topology *topology.Topology
	// Partitions of every topic for which the topology asks for no number.
	// Default 1.
	Partitions int32
}

// Message is a record of a topic, in bytes. A nil key or value is a null.
type Message struct {
	Key, Value []byte
	Timestamp  int64 // ms since 1970
	Headers    recordbatch.Headers
	Partition  int32
}

// maxSteps bounds what may follow from one record, so that a topology that
// feeds itself ends.
const maxSteps = 1 << 20

// Driver runs one topology. It is not safe for concurrent use.
type Driver struct {
	cfg     Config
	t       testing.TB // nil if opened without a test
	engine  *statestore.Engine
	open    []*statestore.Partition
	tasks   []*task
	readers map[string][]*task // by topic and partition
	topics  map[string]bool    // sources and sinks
	out     map[string][]Message
	offsets map[string]int64
	queue   []queued
	now     int64
	broken  error
}

type task struct {
	driver    *Driver
	sub       *topology.Subtopology
	partition int32
	ctx       topology.Context
	built     *topology.Task
}

type queued struct {
	topic string
	Message
}

// New opens a Driver for a test: it ends the test if something fails, and is
// closed with it.
func New(t testing.TB, top *topology.Topology, with ...func(*Config)) *Driver {
	t.Helper()
	cfg := Config{Topology: top}
	for _, fn := range with {
		fn(&cfg)
	}
	d, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.t = t
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Partitions is for New: every topic has n partitions.
func Partitions(n int32) func(*Config) { return func(c *Config) { c.Partitions = n } }

// Open opens a Driver outside a test; Close it.
func Open(cfg Config) (*Driver, error) {
	if cfg.Partitions == 0 {
		cfg.Partitions = 1
	}
	if cfg.Topology == nil || cfg.Partitions < 0 {
		return nil, fmt.Errorf("streamtest: no topology, or %d partitions", cfg.Partitions)
	}
	engine, err := statestore.OpenMemory()
	if err != nil {
		return nil, fmt.Errorf("streamtest: %w", err)
	}
	d := &Driver{
		cfg: cfg, engine: engine, readers: map[string][]*task{}, topics: map[string]bool{},
		out: map[string][]Message{}, offsets: map[string]int64{},
	}
	for _, sub := range cfg.Topology.Subtopologies {
		if err := d.start(sub); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	return d, nil
}

func (d *Driver) partitionsOf(t topology.Topic) int32 {
	if t.Partitions > 0 {
		return t.Partitions
	}
	return d.cfg.Partitions
}

// start builds the tasks of a subtopology.
func (d *Driver) start(sub *topology.Subtopology) error {
	var n int32
	for _, src := range sub.Sources {
		n = max(n, d.partitionsOf(src.Topic))
		d.topics[src.Topic.Name] = true
	}
	for _, sink := range sub.Sinks {
		d.topics[sink.Topic.Name] = true
	}
	for p := range n {
		t := &task{driver: d, sub: sub, partition: p}
		t.ctx = topology.Context{Partition: p, Out: t, StreamTime: -1, Offset: -1}
		built, err := sub.NewTask(&t.ctx, func(s *topology.Store) (*statestore.Partition, error) {
			part, err := d.engine.Open(statestore.ID{App: "streamtest", Store: s.Name, Partition: p})
			if err == nil {
				d.open = append(d.open, part)
			}
			return part, err
		})
		if err != nil {
			return fmt.Errorf("streamtest: subtopology %d: %w", sub.ID, err)
		}
		t.built = built
		d.tasks = append(d.tasks, t)
		for _, src := range sub.Sources {
			if p < d.partitionsOf(src.Topic) {
				d.readers[src.Topic.Name] = append(d.readers[src.Topic.Name], t)
			}
		}
	}
	return nil
}

// Close frees the stores.
func (d *Driver) Close() error {
	var errs []error
	for _, p := range d.open {
		errs = append(errs, p.Close())
	}
	d.open = nil
	return errors.Join(append(errs, d.engine.Close())...)
}

// Produce puts a record into a topic that the topology reads, into the
// partition that Kafka's hash of the key chooses (0 without a key), and
// processes all that follows from it. An error about the record is a
// *topology.RecordError; the Driver goes on after it if it is Clean.
func (d *Driver) Produce(topic string, m Message) error {
	readers := d.readers[topic]
	if len(readers) == 0 {
		return fmt.Errorf("streamtest: the topology does not read topic %q; it reads %s", topic, d.inputs())
	}
	m.Partition = 0
	if m.Key != nil {
		m.Partition = murmur2.Partition(m.Key, int32(len(readers)))
	}
	return d.ProduceTo(topic, m)
}

// ProduceTo is Produce into Message.Partition.
func (d *Driver) ProduceTo(topic string, m Message) error {
	if int(m.Partition) >= len(d.readers[topic]) || m.Partition < 0 {
		return fmt.Errorf("streamtest: topic %q has no partition %d that the topology reads", topic, m.Partition)
	}
	d.now = max(d.now, m.Timestamp)
	d.queue = append(d.queue, queued{topic, m})
	return d.run()
}

func (d *Driver) inputs() string {
	var names []string
	for _, sub := range d.cfg.Topology.Subtopologies {
		for _, src := range sub.Sources {
			if src.Topic.Kind == topology.External {
				names = append(names, src.Topic.Name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// run processes what is queued until nothing is left.
func (d *Driver) run() error {
	if d.broken != nil {
		return d.broken
	}
	for steps := 0; len(d.queue) > 0; steps++ {
		if steps == maxSteps {
			d.broken = fmt.Errorf("streamtest: more than %d records follow from one; the topology feeds itself", maxSteps)
			return d.broken
		}
		q := d.queue[0]
		d.queue = d.queue[1:]
		t := d.readers[q.topic][q.Partition]
		at := fmt.Sprintf("%s-%d", q.topic, q.Partition)
		record := topology.Record{Offset: d.offsets[at], Timestamp: q.Timestamp, Key: q.Key, Value: q.Value, Headers: q.Headers}
		d.offsets[at]++
		if _, err := t.built.Sources[q.topic]([]topology.Record{record}); err != nil {
			err = fmt.Errorf("streamtest: topic %s offset %d: %w", at, record.Offset, err)
			var re *topology.RecordError
			if !errors.As(err, &re) || !re.Clean {
				d.broken = err
			}
			return err
		}
	}
	return nil
}

// Send implements topology.Output for the task.
func (t *task) Send(sink int, timestampMs int64, key, value []byte, headers recordbatch.Headers) error {
	d, topic := t.driver, t.sub.Sinks[sink].Topic
	m := Message{Key: slices.Clone(key), Value: slices.Clone(value), Timestamp: timestampMs, Headers: slices.Clone(headers)}
	if key != nil {
		m.Partition = murmur2.Partition(key, d.partitionsOf(topic))
	}
	if topic.Kind == topology.External {
		d.out[topic.Name] = append(d.out[topic.Name], m)
	}
	if len(d.readers[topic.Name]) > 0 {
		d.queue = append(d.queue, queued{topic.Name, m})
	}
	return nil
}

// Commit commits every task, and again while that makes records for others:
// what is emitted on commit comes out, and changelogs are written.
func (d *Driver) Commit() error {
	for range len(d.cfg.Topology.Subtopologies) + 1 {
		for _, t := range d.tasks {
			if err := d.commit(t); err != nil {
				return err
			}
		}
		if len(d.queue) == 0 {
			return nil
		}
		if err := d.run(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) commit(t *task) error {
	if d.broken != nil {
		return d.broken
	}
	if err := t.built.Commit(); err != nil {
		d.broken = fmt.Errorf("streamtest: commit: %w", err)
		return d.broken
	}
	for i, s := range t.built.Stores {
		spec := t.sub.Stores[i]
		at := fmt.Sprintf("%s-%d", spec.Changelog.Name, t.partition)
		err := s.Prepare(func(c statestore.Change) error {
			d.offsets[at]++
			if spec.SourceTopic == nil {
				m := Message{Key: slices.Clone(c.Key), Value: slices.Clone(c.Value), Timestamp: c.Timestamp, Partition: t.partition}
				d.out[spec.Changelog.Name] = append(d.out[spec.Changelog.Name], m)
				d.topics[spec.Changelog.Name] = true
			}
			return nil
		})
		if err != nil {
			d.broken = fmt.Errorf("streamtest: store %q: %w", s.Name(), err)
			return d.broken
		}
		s.Committed(statestore.Cut{Offset: d.offsets[at], TimestampMs: d.now})
	}
	return nil
}

// Take returns the records that were written to a topic since the last Take
// of it, in the order of writing. The changelog of a store is the topic
// `<name>-changelog`.
func (d *Driver) Take(topic string) []Message {
	out := d.out[topic]
	delete(d.out, topic)
	return out
}

// Dropped counts the records dropped by semantics, over all tasks.
func (d *Driver) Dropped() topology.Dropped {
	var sum topology.Dropped
	for _, t := range d.tasks {
		sum.NullKey += t.ctx.Dropped.NullKey
		sum.NullValue += t.ctx.Dropped.NullValue
		sum.NegativeTimestamp += t.ctx.Dropped.NegativeTimestamp
	}
	return sum
}
