package logbroker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/planted"
)

// FsyncPolicy says when a produce that asks for an acknowledgement gets it.
type FsyncPolicy int

const (
	// FsyncAlways acknowledges after the data is on disk. The default.
	FsyncAlways FsyncPolicy = iota
	// FsyncInterval acknowledges from the page cache and syncs within 50 ms: a
	// power loss takes up to 50 ms of what was acknowledged.
	FsyncInterval
	// FsyncOS acknowledges from the page cache and syncs within a second, when
	// a reader waits or a transaction commits: a power loss takes up to a
	// second of what was acknowledged.
	FsyncOS
)

// Config configures a Broker. The zero value of a field means its default.
type Config struct {
	// Dir is the data directory. It is created if it does not exist.
	Dir string
	// FS is the file system. Default: the disk.
	FS vfs.FS
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// BootID changes when the page cache was lost. Default: the kernel's boot
	// id joined with the id of the mount that holds Dir.
	BootID func() string
	// Rand gives the bytes of topic and cluster ids. Default: crypto/rand.
	Rand io.Reader
	// Logger is told what happens. Default: nobody.
	Logger *slog.Logger
	// LogLevel is the least level that Logger writes, if its handler goes by it
	// (slog.HandlerOptions): clients read and set it as Kafka's logger root. Default:
	// there is no logger that they could set.
	LogLevel *slog.LevelVar

	// Synchronous makes every step run inside the call that causes it: no
	// goroutine is started, syncs are done at once, and timers run only in
	// Tick. One goroutine can then step the whole broker. Serve is refused.
	Synchronous bool
	// SpareProcessor says that Go schedules on more processors than there are
	// (runtime.GOMAXPROCS): the broker holds one while many requests come, and Go's own work
	// costs less. Default: it holds none.
	SpareProcessor bool
	// Fsync is when a produce is acknowledged.
	Fsync FsyncPolicy

	// SegmentBytes is the size at which a segment is rolled. Default 1 GiB, as Kafka's.
	SegmentBytes int64
	// IndexIntervalBytes is the spacing of index entries. Default 4096.
	IndexIntervalBytes int

	// RetentionInterval is the time between two looks for what is too old or too
	// much, CompactionInterval for what is to be compacted. Defaults: 5 min and
	// 15 s, as Kafka's. A Synchronous broker looks only in Clean.
	RetentionInterval, CompactionInterval time.Duration

	// ClusterID names the cluster. Default: taken at random at the first start
	// and kept in the data directory.
	ClusterID string
	// NodeID is this broker's id. Default 0.
	NodeID int32
	// AdvertisedHost and AdvertisedPort are where clients are told to connect.
	// Default: the address of the listener given to Serve.
	AdvertisedHost string
	AdvertisedPort int32

	// AutoCreateTopics lets metadata requests create topics.
	AutoCreateTopics bool
	// DefaultPartitions is the number of partitions of a topic created without
	// one. Default 1.
	DefaultPartitions int32

	// InitialRebalanceDelay is how long the first members of a group wait for more of
	// them, as Kafka's group.initial.rebalance.delay.ms. Default 0.
	InitialRebalanceDelay time.Duration

	// Security says who is let in and what they may do. Default: everybody, and
	// everything.
	Security Security

	Limits Limits

	// OnFatal is called once when the broker can no longer promise durability:
	// a sync failed. The process should exit; the next start recovers.
	// Default: the broker only refuses further writes.
	OnFatal func(error)

	// planted is the promise that is broken on purpose. Default: what the
	// environment says in a build for that, otherwise none.
	planted *planted.Plan
	// patience is shorter in tests.
	patience patience
}

// Limits bound what clients can make the broker hold.
type Limits struct {
	// ProduceBytes is the largest produce request. Default 100 MiB.
	ProduceBytes int
	// RequestBytes is the largest request of any other kind. Default 4 MiB.
	RequestBytes int
	// BatchBytes is the largest record batch. Default 1 MiB + 12, as Kafka's;
	// the topic config max.message.bytes goes before it.
	BatchBytes int
	// FetchBytes is the most that one fetch is answered with. Default 55 MiB.
	FetchBytes int
	// Connections is the number of connections at once. Default 4096.
	Connections int
	// ConnectionsPerHost is the number of connections of one address at once.
	// Default: Connections.
	ConnectionsPerHost int
	// Pipelined is the number of produces of one connection that wait for
	// their answers at once; no more is read from it then. Default 64. Others are
	// served one after another.
	Pipelined int
	// Partitions is the number of partitions of all topics. Default 20000.
	Partitions int
	// Transactions is the number of transactional ids. Default 100000.
	Transactions int
	// FetchSessions is the number of fetch sessions (KIP-227) of all clients, as
	// Kafka's max.incremental.fetch.session.cache.slots. Default 1000.
	FetchSessions int
	// FetchSessionPartitions is the number of partitions in all of them. Default
	// 200000.
	FetchSessionPartitions int
	// CacheBytes is about how much of the logs is kept in the page cache: what
	// was written or read longest ago is let go, and read from the disk when it
	// is asked for again. Default 1 GiB; -1 leaves it to the kernel.
	CacheBytes int64
	// RecoveryBytes is about how much of the logs a start after a crash has to read, beside
	// what came while checkpoints were written: past it they are. Default 1 GiB.
	RecoveryBytes int64
	// CompactionBytes is the most memory for the keys of the log that is being
	// compacted, 24 bytes a key, and 2 GiB at most. Default 16 MiB.
	CompactionBytes int64
	// FreeBytes is the free disk space below which produces are refused, so
	// that the broker's own database never meets a full disk. Default 64 MiB.
	FreeBytes uint64
}

func (c Config) withDefaults() (Config, error) {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("logbroker: Dir is empty; name a data directory"))
	}
	if c.DefaultPartitions < 0 {
		faults = append(faults, fmt.Errorf("logbroker: DefaultPartitions is %d; want at least 1", c.DefaultPartitions))
	}
	if c.SegmentBytes < 0 || c.IndexIntervalBytes < 0 {
		faults = append(faults, errors.New("logbroker: SegmentBytes and IndexIntervalBytes must not be negative"))
	}
	if c.InitialRebalanceDelay < 0 {
		faults = append(faults, errors.New("logbroker: InitialRebalanceDelay must not be negative"))
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.BootID == nil {
		dir := c.Dir
		c.BootID = func() string { return bootID(dir) }
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.planted == nil {
		plan, err := planted.FromEnvironment()
		if err != nil {
			faults = append(faults, fmt.Errorf("logbroker: %w", err))
		}
		c.planted = plan
	}
	orDefault(&c.SegmentBytes, 1<<30)
	orDefault(&c.IndexIntervalBytes, 4096)
	orDefault(&c.DefaultPartitions, 1)
	c.patience.orDefault()
	orDefault(&c.RetentionInterval, 5*time.Minute)
	orDefault(&c.CompactionInterval, 15*time.Second)
	l := &c.Limits
	orDefault(&l.ProduceBytes, 100<<20)
	orDefault(&l.RequestBytes, 4<<20)
	orDefault(&l.BatchBytes, 1<<20+12)
	orDefault(&l.FetchBytes, 55<<20)
	orDefault(&l.Connections, 4096)
	orDefault(&l.ConnectionsPerHost, l.Connections)
	orDefault(&l.Pipelined, 64)
	orDefault(&l.Partitions, 20000)
	orDefault(&l.Transactions, 100000)
	orDefault(&l.FetchSessions, 1000)
	orDefault(&l.FetchSessionPartitions, 200_000)
	orDefault(&l.CacheBytes, 1<<30)
	orDefault(&l.RecoveryBytes, 1<<30)
	orDefault(&l.CompactionBytes, 16<<20)
	orDefault(&l.FreeBytes, 64<<20)
	return c, errors.Join(faults...)
}

func orDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
