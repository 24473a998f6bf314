package differential

import "strings"

// knownOfFake are the differences to the fake broker that are its own: which error
// it is, and what there is to say of a group that does not exist.
func knownOfFake(op, ours, theirs string) bool {
	fails := func(answer string) bool { return !strings.Contains(answer, "ok") && !strings.HasPrefix(answer, "high") }
	switch {
	case fails(ours) && fails(theirs):
		return true
	case strings.HasPrefix(op, "OffsetFetch"):
		return ours == "ok -1 -1 0" && fails(theirs)
	case strings.HasPrefix(op, "EndTxn"): // of a transaction that nothing belongs to
		return ours == "INVALID_TXN_STATE" && theirs == "ok"
	case strings.HasPrefix(op, "InitProducerId"): // its abort of an open transaction takes no epoch
		ours, _, _ = strings.Cut(ours, "/")
		theirs, _, _ = strings.Cut(theirs, "/")
		return ours == theirs
	}
	return strings.HasPrefix(op, "Produce") && unreadable(op) || knownOfKafka(op, ours, theirs) // it reads no records
}

// unreadable tells of a Produce whose records cannot be read.
func unreadable(op string) bool {
	for _, fault := range []string{"codec 5", "no gzip", "record length", "missing record", "record behind", "header count"} {
		if strings.HasSuffix(op, fault) {
			return true
		}
	}
	return false
}

// knownOfKafka are the differences to Apache Kafka that stay: docs/compatibility.md
// says why.
func knownOfKafka(op, ours, theirs string) bool {
	// There a group that only a refused commit made is shown once something else is written to
	// its partition of __consumer_offsets.
	return strings.HasPrefix(op, "DescribeGroups") && ours == "ok Empty 0" && theirs == "ok Dead 0"
}
