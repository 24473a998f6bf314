// Package pipelines turns a pipeline file into a plan: a topology, the
// connectors around it, and the topics that must be there.
//
//	plan, faults := pipelines.Load("orders.yaml", pipelines.Options{})
//	fmt.Fprint(os.Stderr, faults)
//	if plan == nil { os.Exit(2) }
//
// Load works offline. It reports all faults of the file at once, each with its
// place and how to mend it, and types every expression from source to sink.
// The format is described by one table in package spec; docs/pipelines.md is
// made from it.
//
// The package starts nothing: package pipelines/run does.
package pipelines
