// Package wire is what the implementations of the seam share of the Kafka
// protocol: how its calls become requests, and answers its results and errors.
// It sends nothing. The versions of requests are the sender's to choose.
package wire
