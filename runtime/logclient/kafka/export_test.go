package kafka

// UseOldTransactions makes the log speak the protocol of transactions before
// KIP-890, as with a cluster that has nothing newer.
func (l *Log) UseOldTransactions() { l.v2 = false }
