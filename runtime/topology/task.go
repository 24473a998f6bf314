package topology

import (
	"fmt"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/statestore"
)

// Record is what enters a task: a view into a fetched batch, valid until
// Process returns.
type Record = recordbatch.Record

// Output takes the records that leave a task. It is called from Process and
// Commit only.
type Output interface {
	// Send hands a record to a sink of the subtopology. The partition is chosen
	// by Kafka's hash of the key, at will where the key is nil. The bytes are
	// copied before Send returns. A nil value is a null.
	Send(sink int, timestampMs int64, key, value []byte, headers recordbatch.Headers) error
}

// Context is what the operators of one task share. Its fields are for the
// operators to read during a call; it belongs to the task's goroutine.
type Context struct {
	Partition int32
	Out       Output
	// StreamTime is the largest timestamp, ms, of any record processed by this
	// task, -1 before the first. Sources advance it; the runtime restores it.
	StreamTime int64
	// Topic, Offset and Headers are those of the input record being processed.
	// During a commit Offset is -1.
	Topic   string
	Offset  int64
	Headers recordbatch.Headers
	// Dropped counts records that semantics drop, by reason.
	Dropped Dropped
	// Touched tells that the record being processed has had an effect on state
	// or outputs. Operators set it before the effect, sources clear it.
	Touched bool
	// Current is the node whose function of the user runs, for the message if
	// it panics. Operators set it before each such call.
	Current *Node
}

// Dropped counts dropped records by reason.
type Dropped struct {
	NullKey, NullValue, NegativeTimestamp int64
}

// BatchFunc runs records of one source topic through a task, in order. It
// returns how many are done. An error about a record is a *RecordError, and
// done is then its index; the caller may go on after it, if the error is
// Clean, with the records that follow.
type BatchFunc func(records []Record) (done int, err error)

// Stage says where a record failed.
type Stage string

const (
	// StageDecode: key, value or timestamp of an input could not be read.
	StageDecode Stage = "decode"
	// StageProcess: an operator or a function of the user failed or panicked.
	StageProcess Stage = "process"
	// StageEncode: a result could not be serialised.
	StageEncode Stage = "encode"
)

// RecordError says that one record cannot be processed.
type RecordError struct {
	Stage Stage
	Node  string
	Err   error
	// Clean: the record has had no effect, neither on state nor on outputs. If
	// not, the transaction must be aborted and replayed without the record.
	Clean bool
}

// Error implements error.
func (e *RecordError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Node, e.Stage, e.Err) }

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// Task is one partition of a subtopology, built. It belongs to one goroutine.
type Task struct {
	Context *Context
	// Sources maps a topic (its name in the plan) to its entry.
	Sources map[string]BatchFunc
	// Stores are the task's stores by the order of Subtopology.Stores.
	Stores   []statestore.Store
	onCommit []func() error
}

// Commit runs what operators do before the end of a transaction (results
// emitted on commit), in topological order. Stores are prepared after it.
func (t *Task) Commit() error {
	t.Context.Offset, t.Context.Headers = -1, nil
	for _, fn := range t.onCommit {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

// TaskBuilder is what Node.Build sees of the task being built.
type TaskBuilder struct {
	Context *Context
	sub     *Subtopology
	stores  map[string]statestore.Store
	commits map[*Node]func() error
	node    *Node
}

// Store returns the task's store of that name, for a type assertion.
func (b *TaskBuilder) Store(name string) (statestore.Store, error) {
	s, ok := b.stores[name]
	if !ok {
		return nil, fmt.Errorf("topology: node %q uses store %q, which subtopology %d does not have", b.node.Name, name, b.sub.ID)
	}
	return s, nil
}

// SinkIndex returns the index of the node being built among the sinks.
func (b *TaskBuilder) SinkIndex() (int, error) {
	for i, s := range b.sub.Sinks {
		if s.Node == b.node {
			return i, nil
		}
	}
	return 0, fmt.Errorf("topology: node %q is not a sink", b.node.Name)
}

// Node is the node being built.
func (b *TaskBuilder) Node() *Node { return b.node }

// Consumers counts the edges that leave n within the subtopology.
func (b *TaskBuilder) Consumers(n *Node) int {
	count := 0
	for _, m := range b.sub.Nodes {
		for _, in := range m.Inputs {
			if in == n {
				count++
			}
		}
	}
	return count
}

// OnCommit registers what the node being built does before a commit.
func (b *TaskBuilder) OnCommit(fn func() error) { b.commits[b.node] = fn }

// NewTask builds a task. open gives the partition of the engine for each
// store.
func (s *Subtopology) NewTask(ctx *Context, open func(*Store) (*statestore.Partition, error)) (*Task, error) {
	t := &Task{Context: ctx, Sources: map[string]BatchFunc{}}
	b := &TaskBuilder{Context: ctx, sub: s, stores: map[string]statestore.Store{}, commits: map[*Node]func() error{}}
	for _, spec := range s.Stores {
		p, err := open(spec)
		if err != nil {
			return nil, fmt.Errorf("store %q: %w", spec.Name, err)
		}
		st, err := spec.New(p)
		if err != nil {
			return nil, fmt.Errorf("store %q: %w", spec.Name, err)
		}
		b.stores[spec.Name] = st
		t.Stores = append(t.Stores, st)
	}
	built := map[*Node]any{}
	for i := len(s.Nodes) - 1; i >= 0; i-- {
		n := s.Nodes[i]
		b.node = n
		v, err := n.Build(b, outputs(s.Nodes, n, built))
		if err != nil {
			return nil, fmt.Errorf("node %q: %w", n.Name, err)
		}
		built[n] = v
	}
	for _, src := range s.Sources {
		fn, ok := built[src.Node].(BatchFunc)
		if !ok {
			return nil, fmt.Errorf("topology: source %q built a %T, not a BatchFunc", src.Node.Name, built[src.Node])
		}
		t.Sources[src.Topic.Name] = fn
	}
	for _, n := range s.Nodes {
		if fn := b.commits[n]; fn != nil {
			t.onCommit = append(t.onCommit, fn)
		}
	}
	return t, nil
}

// outputs lists what the outputs of n were built to, one per edge.
func outputs(nodes []*Node, n *Node, built map[*Node]any) []Edge {
	var down []Edge
	for _, m := range nodes {
		for i, in := range m.Inputs {
			if in == n {
				down = append(down, Edge{To: built[m], Input: i})
			}
		}
	}
	return down
}

// Edge is one output of a node: what the Build of the node at its other end
// returned, and which of that node's inputs the edge is.
type Edge struct {
	To    any
	Input int
}
