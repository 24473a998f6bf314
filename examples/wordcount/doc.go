// Command wordcount counts the words of a text, exactly once: topology.go says
// what is counted, main.go runs it on a broker in this process, or on any Kafka
// cluster with --brokers. pipeline.yaml is the same program as a pipeline.
package main
