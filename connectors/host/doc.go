// Package host runs connectors: it starts the plugin process, hands over
// positions, moves records between it and the log, and starts it again when it
// fails.
//
// A Source writes records and the position after them in one transaction. The
// positions are records of a compacted topic (DefaultPositionsTopic), so that
// they commit or vanish with the records; a start reads back the last
// committed one. A Sink reads its topics read_committed from where the plugin
// says its target stands, and has no positions of its own.
//
// One instance of a connector runs at a time: each start claims the
// transactional id of the connector, which stops an older instance at its next
// commit, and an epoch that grows with every start, which targets use as a
// fencing token (claim.go).
//
// A plugin is trusted with its own work and nothing else: it gets a scrubbed
// environment, credit in bytes bounds what it may send, silence is taken for
// a hang and ends in SIGKILL of its process group, what it prints is cut to
// lines and logged. It dies with the host.
//
// The package leaves out the REST interface and the sharing of one connector
// among several processes.
package host
