// Package logclient is the seam between the runtime and a log: what a worker
// needs of Kafka, and no more. runtime/logclient/kafka implements it with
// franz-go for any cluster, runtime/embedded with a broker in this process;
// logclienttest is the conformance suite that both pass.
//
// Nothing that a worker calls blocks. A call that has to wait returns a
// Pending; what arrives by itself (batches, changes of membership) is taken
// with Poll; Wake tells when another Poll may bring something. So a worker can
// be stepped by one goroutine, with a virtual clock.
//
// A Log is safe for concurrent use. A Member, Reader or Writer belongs to one
// goroutine.
package logclient
