// Package differential asks several brokers the same things, at random and by script, and
// compares their answers: Levada's, the fake one of franz-go, and Apache Kafka
// itself where LEVADA_KAFKA names one (make kafka). It has only tests.
package differential
