package workload

import "time"

// Sizes on the disk, in bytes: what a record takes beside its key and value,
// and a count.
const (
	recordOverhead = 16
	countSize      = 8
)

// longestRun bounds what commits are expected to write.
const longestRun = time.Minute

// DiskBytes is about how much a run leaves on the disk: its input, what the
// topology writes, and the changelog.
func (c Config) DiskBytes() int64 {
	in := c.Input
	bytes := in.InputBytes() + in.Lines()*recordOverhead
	if in.Workload == PassThrough {
		return 2 * bytes
	}
	keys := in.Keys
	if in.Workload == WordCount {
		keys = vocabulary
		bytes += in.Records * (KeySize + recordOverhead) // words on their way to their counts
	}
	const change = KeySize + countSize + recordOverhead
	committed := min(in.Records, keys*int64(longestRun/c.CommitInterval+1)) * change
	if c.EmitOnCommit {
		return bytes + 2*committed
	}
	return bytes + in.Records*change + committed
}
