package workload

import (
	"fmt"
	"strings"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime/topology"
)

// The workloads.
const (
	// PassThrough copies records to a topic.
	PassThrough = "passthrough"
	// Count counts records by key, without a repartition.
	Count = "count"
	// WordCount splits lines into words, repartitions them, and counts.
	WordCount = "wordcount"
)

// Names are the workloads.
var Names = []string{PassThrough, Count, WordCount}

// Topics of every workload.
const (
	InputTopic  = "bench-input"
	OutputTopic = "bench-output"
)

// Topology is the program of a workload, as a user would write it.
func Topology(name string, emitOnCommit bool) (*topology.Topology, error) {
	var opts []dsl.Option
	if emitOnCommit {
		opts = append(opts, dsl.EmitOnCommit())
	}
	b := dsl.NewBuilder()
	switch name {
	case PassThrough:
		in := dsl.NewTopic(InputTopic, serde.Bytes{}, serde.Bytes{})
		out := dsl.NewTopic(OutputTopic, serde.Bytes{}, serde.Bytes{})
		in.Stream(b).To(out)
	case Count:
		in := dsl.NewTopic(InputTopic, serde.Bytes{}, serde.Bytes{})
		out := dsl.NewTopic(OutputTopic, serde.Bytes{}, serde.Int64{})
		in.Stream(b).GroupByKey().Count("counts", opts...).Stream().To(out)
	case WordCount:
		in := dsl.NewTopic(InputTopic, serde.Bytes{}, serde.String{})
		out := dsl.NewTopic(OutputTopic, serde.String{}, serde.Int64{})
		words := dsl.FlatMapValues(in.Stream(b), strings.Fields)
		byWord := dsl.GroupBy(words, func(_ []byte, word string) string { return word })
		byWord.Count("counts", opts...).Stream().To(out)
	default:
		return nil, fmt.Errorf("workload %q: use one of %s", name, strings.Join(Names, ", "))
	}
	return b.Build()
}
