// Package brokerload drives a broker of the Kafka protocol, ours or another, and
// measures what a record costs: in throughput, in the CPU of the broker's process
// and of the client, in latency and in memory.
package brokerload
