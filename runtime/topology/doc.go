// Package topology is the waist of Levada: what a plan is. Package dsl builds
// a Topology out of operators; the runtime runs it, streamtest runs it in
// memory, Describe prints it.
//
// A Topology is cut into subtopologies, parts that are joined by topics only.
// A task is one partition of a subtopology: NewTask builds its operators as
// typed closures, wired from the sinks up to the sources; types are asserted
// once per edge then, and never per record.
//
// Names of internal topics (repartition, changelog) are without the
// application id; whoever runs the topology puts it in front with TopicName.
package topology
