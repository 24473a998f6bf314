// Package sasl is the server's side of the mechanisms that Kafka's clients
// authenticate with: PLAIN (RFC 4616), SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802,
// RFC 7677), and OAUTHBEARER (RFC 7628). An Exchange is fed with what the client
// sends and says what to answer. It has no I/O, but for the keys of tokens that
// are fetched from a URL.
//
// No error tells a client why it was refused more than that it was: whether the
// user exists is nobody's business.
package sasl
