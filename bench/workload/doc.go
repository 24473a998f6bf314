// Package workload holds what `levada bench` runs: seeded inputs, the
// topologies over them, and the independent recomputation that every result is
// compared with. A figure whose result is wrong is not reported.
package workload
