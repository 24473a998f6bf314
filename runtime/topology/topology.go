package topology

import (
	"github.com/levada/levada/statestore"
)

// Topology is a whole plan, checked by whoever built it. It is immutable.
type Topology struct {
	Subtopologies []*Subtopology
}

// Subtopology is a part of the plan that exchanges records with other parts
// only through topics. Its tasks are numbered by partition.
type Subtopology struct {
	ID int
	// Nodes are in topological order: inputs before outputs.
	Nodes []*Node
	// Sources, Sinks and Stores are the places where records enter, leave and
	// are kept. A sink is addressed by its index here.
	Sources []*Source
	Sinks   []*Sink
	Stores  []*Store
	// Copartitioned lists sets of source topics that must have the same number
	// of partitions, because their records meet by key.
	Copartitioned []Copartition
}

// Copartition is a set of topics that must have the same number of partitions.
type Copartition struct {
	Topics []Topic
	// Node needs it, for the message.
	Node string
}

// Node is one step of the plan.
type Node struct {
	Name string
	// Kind is the word of the dsl, e.g. "filter", "count", "source".
	Kind   string
	Inputs []*Node
	// Stores are the names of the state stores that the node uses.
	Stores []string
	// Detail is what Describe adds, e.g. "emit: on commit". May be empty.
	Detail string
	// Build makes the node's part of one task. down holds what the Build of
	// each output returned, in the order of the edges; a node asserts their
	// types once. Sources return a BatchFunc, others whatever their inputs
	// expect.
	Build func(t *TaskBuilder, down []Edge) (any, error)
}

// TopicKind tells who owns a topic.
type TopicKind int8

const (
	// External topics exist before the application.
	External TopicKind = iota
	// Repartition topics carry records from one subtopology to another; the
	// runtime creates them and deletes what has been committed.
	Repartition
	// Changelog topics hold the changes of a store; the runtime creates them.
	Changelog
)

// Topic names a topic in a plan.
type Topic struct {
	Name string
	Kind TopicKind
	// Partitions of a repartition topic; 0 takes the largest number of
	// partitions of the inputs of the subtopology that writes it.
	Partitions int32
}

// FullName is the topic's name in the log, for an application id.
func (t Topic) FullName(app string) string {
	if t.Kind == External {
		return t.Name
	}
	return app + "-" + t.Name
}

// Source is a topic that is read.
type Source struct {
	Node  *Node
	Topic Topic
	// Reset says where to start without a committed offset.
	Reset Reset
}

// Reset is where a source starts without a committed offset.
type Reset int8

const (
	// Earliest starts at the first record that the log holds.
	Earliest Reset = iota
	// Latest starts at the end.
	Latest
)

// Sink is a topic that is written.
type Sink struct {
	Node  *Node
	Topic Topic
}

// Store is a state store of a subtopology; each task has its own part.
type Store struct {
	Name string
	// Changelog is the topic that holds its changes.
	Changelog Topic
	// SourceTopic is set for a table read from a topic: if that topic is
	// compacted it serves as the changelog, and Changelog is not created.
	SourceTopic *Topic
	// Valid tells, for a table read from a topic, whether a record of the topic
	// can be decoded; others are left out when the store is restored from it. nil
	// takes all.
	Valid func(key, value []byte) bool
	// New opens the typed store over its part of the engine.
	New func(*statestore.Partition) (statestore.Store, error)
	// Text lists what a store made by New holds, in the order of the keys'
	// bytes, as text for tests and for people. May be nil.
	Text func(s statestore.Store, yield func(key, value string, timestampMs int64) error) error
}
