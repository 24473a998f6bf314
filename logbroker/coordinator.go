package logbroker

import (
	"time"
)

// groupCoordinator is what the rest of the broker asks of groups.go. openGroups
// makes it at the end of recovery, before any request is handled; it reads its
// rows through Broker.meta (Groups, Offsets) and writes them with
// Broker.meta.NewBatch and Commit. Its timers are its own, run by tick.
type groupCoordinator interface {
	// checkTxnCommit calls add, which must not wait, if the member may add offsets to
	// its open transaction; nobody joins or is taken out meanwhile. Else it returns the
	// *kerr.Error to answer with. generation -1 and an empty member are
	// a producer that belongs to no group.
	checkTxnCommit(group string, generation int32, member string, instance *string, offsets []topicOffset, add func()) error
	// tick runs what is due and returns when to be called next; the zero time
	// if nothing waits. The coordinator calls Broker.wake when that becomes
	// earlier.
	tick(now time.Time) (next time.Time)
	// close drops what waits. Requests that still wait are not answered.
	close()
}
