// Package run runs a checked pipeline: it makes the topics that are missing,
// starts the connectors around the topology (package connectors/host), runs
// the topology (package runtime), and stops all of it together.
//
// One call of Pipeline is one process of the pipeline. Several processes with
// the same plan share the partitions of the topology; a connector runs in the
// one that started it last.
package run
