// Package checker looks at what clients of a log did and saw, and says which
// promises of the log were broken: lost, doubled and aborted records that were
// read, torn transactions, offsets with two values, readers that went back or
// left something out. It follows the model of jepsen.tests.kafka.
//
// It knows histories only: it imports nothing of the broker, of the runtime or
// of a client, so that it cannot repeat their mistakes. A history is complete
// when its writers have ended and somebody has read every key from its begin to
// its end after that.
//
// What it leaves out: the time between operations. An operation whose outcome is
// unknown (Info) may have happened or not, and is never taken for one that
// failed.
package checker
