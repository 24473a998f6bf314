package logclient

// Admin asks about topics and offsets and changes them. It is safe for
// concurrent use; nothing blocks.
type Admin interface {
	Topics
	Offsets
	// Fence takes a transactional id from its holder: its open transaction is
	// aborted and the holder can commit no more (InitProducerId).
	Fence(transactionalID string) *Pending[struct{}]
}

// Topics manages topics.
type Topics interface {
	// CreateTopics creates topics; it is no error if one exists already with
	// the same number of partitions.
	CreateTopics([]TopicSpec) *Pending[struct{}]
	// DescribeTopics tells of the topics that exist among names; others are
	// absent from the map. withConfigs also reads their configs.
	DescribeTopics(names []string, withConfigs bool) *Pending[map[string]TopicInfo]
	// DeleteTopics deletes topics; one that does not exist is no error.
	DeleteTopics(names []string) *Pending[struct{}]
	// DeleteRecords deletes everything before each position.
	DeleteRecords([]Position) *Pending[struct{}]
}

// Offsets asks where partitions and groups stand.
type Offsets interface {
	// ListOffsets tells offsets of partitions. An unknown partition is
	// ErrUnknownTopic for the whole call.
	ListOffsets([]TopicPartition, OffsetSpec) *Pending[map[TopicPartition]Position]
	// CommittedOffsets tells the committed positions of a group; a partition
	// without one is absent. With stable set, an open transaction that may
	// change one of them gives ErrUnstable (KIP-447).
	CommittedOffsets(group string, tps []TopicPartition, stable bool) *Pending[map[TopicPartition]Position]
	// EpochEnd tells where a leader epoch ended: the offset after its last
	// record, and the largest epoch not above the one asked for.
	EpochEnd(tp TopicPartition, leaderEpoch int32) *Pending[Position]
}

// TopicSpec describes a topic to be created.
type TopicSpec struct {
	Name       string
	Partitions int32
	// ReplicationFactor -1 takes the cluster's default.
	ReplicationFactor int16
	Configs           map[string]string
}

// TopicInfo describes a topic that exists.
type TopicInfo struct {
	Name       string
	ID         [16]byte // zero where the cluster has no topic ids
	Partitions int32
	Configs    map[string]string // only if asked for
}

// OffsetSpec says which offset of a partition is meant.
type OffsetSpec struct {
	Kind OffsetKind
	// TimestampMs is used with AtTimestamp.
	TimestampMs int64
}

// OffsetKind is a kind of OffsetSpec.
type OffsetKind int8

const (
	// Earliest is the log start offset.
	Earliest OffsetKind = iota
	// LatestStable is the last stable offset: the end for read_committed.
	LatestStable
	// LatestHigh is the high watermark: the end for read_uncommitted.
	LatestHigh
	// AtTimestamp is the first offset whose timestamp is at or after
	// TimestampMs; the high watermark if there is none.
	AtTimestamp
)
