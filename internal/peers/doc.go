// Package peers runs clients that others have written against the real server:
// librdkafka in Python, kafkajs and @platformatic/kafka in Node, sarama and kafka-go,
// Java's clients, Kafka Streams and Kafka's tools. It has only tests, which make e2e
// runs; what they need make deps installs, and what is missing is skipped aloud.
package peers
