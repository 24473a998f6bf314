// Package logbroker is a durable, partitioned log that speaks the Kafka
// protocol: one broker in one process, over the segments of package commitlog
// and the database of package meta.
//
// # What it promises
//
// A produce with acks is answered after its data is synced (FsyncAlways). The
// high watermark never passes the synced end of a partition, so nobody reads
// what a power loss could take back. The data of an open transaction is synced
// once, at its commit: all its partitions in parallel, then one synced write
// of the decision, then the markers. After a SIGKILL an open transaction stays
// open with its pending offsets; after a power loss every undecided one is
// aborted and every transactional id gets a new epoch before the listener
// opens. docs/reliability.md tells the rules and why they hold.
//
// # How a request is served
//
// Serve reads frames; Handle finds the row of the request table (table.go) and
// calls it. There is one file for each request key, named by the key:
// 00_produce.go, 01_fetch.go. Such a file opens with the versions served and
// what is particular about them, and has one method:
//
//	// handleHeartbeat answers Heartbeat, versions 0 to 4: …
//	func (b *Broker) handleHeartbeat(r *request) {
//		req := r.msg.(*kmsg.HeartbeatRequest)
//		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
//		…
//		r.respond(resp)
//	}
//
// A handler is called in the order of the connection's requests and must not
// block: what waits (for a sync, a timer, other members) keeps r.respond and
// calls it later, exactly once, from any goroutine and without a lock held;
// the server keeps the answers in order. r.conn must be read inside the
// handler only. Slow work goes through Broker.spawn, which runs it at once if
// the broker is Synchronous. Time is Broker.now; timers are Broker.timers.at.
//
// The group requests (keys 8, 9, 11 to 16, 42) are served from groups.go,
// which gives the broker its rows of the table (groupHandlers) and the
// groupCoordinator of this broker (openGroups).
//
// # What it leaves out
//
// Replication: redundancy is what a Kafka cluster is for.
package logbroker
