package pipelines

import (
	"encoding/json"
	"time"

	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/topology"
)

// Limits of settings.
const (
	minCommit = time.Millisecond
	maxCommit = 5 * time.Minute

	defaultPartitions = 4
)

// Plan is a pipeline that has been checked and compiled: all that is needed to
// run it. It is not changed once it is made; the Topology can be run once at a
// time or many times.
type Plan struct {
	// Name is the application id.
	Name     string
	Topology *topology.Topology
	// Sources and Sinks are the connectors to be started.
	Sources, Sinks []Connector
	// Topics must exist before the topology runs; those that are missing are
	// to be created so. Internal topics and those of dead letters are made by
	// the runtime and the connector host.
	Topics []Topic

	Guarantee      runtime.Guarantee
	CommitInterval time.Duration
	Workers        int
	// OnError and DeadLetterTopic are for records of the topology.
	OnError         runtime.OnError
	DeadLetterTopic string
}

// Connector is an instance of a connector.
type Connector struct {
	// Name is the instance's, unique in a log: pipeline-connector.
	Name string
	// Plugin is the name of the program.
	Plugin string
	// Config is a JSON object.
	Config json.RawMessage
	// Topic is what a source writes or a sink reads.
	Topic      string
	Partitions int32
	// OnError is fail, skip or dead_letter.
	OnError         string
	DeadLetterTopic string
}

// Topic is a topic that must exist.
type Topic struct {
	Name       string
	Partitions int32
	// Compacted topics keep the newest record of each key.
	Compacted bool
}
