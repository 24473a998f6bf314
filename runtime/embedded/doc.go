// Package embedded implements the seam runtime/logclient on a broker in this
// process: batches are handed over by reference, there is no socket, nothing is
// serialised. Groups and transactions go through Broker.Handle with the same
// requests that a client would send, so members of both kinds can be in one
// group.
//
// The package starts no goroutine; only a request that a coordinator asks to
// send again waits for a timer, which a Synchronous broker never does. Answers of the broker are queued where they
// arrive and taken up by the owner's next Poll; with a Synchronous broker they
// arrive during the call, and a whole application runs in one goroutine.
package embedded
