package differential

import "strings"

// knownOfFake are the differences to the fake broker that are its own.
func knownOfFake(op, ours, theirs string) bool { return false }

// knownOfKafka are the differences to Apache Kafka that stay: docs/compatibility.md
// says why.
func knownOfKafka(op, ours, theirs string) bool {
	switch {
	// There a group stays when its offsets are gone, and one is made by a commit
	// that is refused or aborted.
	case strings.HasPrefix(op, "DeleteGroups"):
		return ours == "GROUP_ID_NOT_FOUND" && theirs == "ok"
	case strings.HasPrefix(op, "DescribeGroups"):
		return ours == "ok Dead 0" && theirs == "ok Empty 0"
	case strings.HasPrefix(op, "group request 5"): // OffsetDelete
		return ours == "GROUP_ID_NOT_FOUND" && strings.HasPrefix(theirs, "ok ")
	}
	return false
}
