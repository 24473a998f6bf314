package commitlog

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/planted"
)

const (
	defaultSegmentBytes  = 1 << 30
	maxSegmentBytes      = math.MaxInt32 // as Kafka's
	defaultIndexInterval = 4096
	defaultMaxProducers  = 20000
)

// Config configures a Log. The zero value of a field means its default.
type Config struct {
	// FS is the file system. Default: the disk.
	FS vfs.FS
	// Dir is the directory of this partition alone.
	Dir string
	// SegmentBytes is the size past which a segment is sealed. A batch larger
	// than that gets a segment of its own. Default 1 GiB, at most 2 GiB less a byte.
	SegmentBytes int64
	// SegmentAge is how much younger than the first batch of a segment the next
	// one may be; past it the segment is sealed. 0: any.
	SegmentAge time.Duration
	// IndexIntervalBytes is the spacing of index entries. Default 4096.
	IndexIntervalBytes int
	// LogStart is the first offset that may be read, as the caller recorded it.
	LogStart int64
	// LeaderEpoch is stamped on appends. It must not decrease between opens.
	LeaderEpoch int32
	// MaxProducers is how many idle producers are remembered; past it those
	// that have not written for longest are forgotten. Default 20000.
	MaxProducers int
	// Now is the clock: it stamps markers. Default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
	// Cache bounds the page cache. Default: no bound.
	Cache *PageCache

	// MayReserve is asked before space of so many bytes is set aside behind the end of
	// a segment; it must not block for long. Default: any may be.
	MayReserve func(bytes int64) bool

	// Suspect says that the last run did not end with Close: what lies past the
	// last checkpoint is read, and synced before it is shown.
	Suspect bool
	// SuspectDisk says that a sync failed in the last run: what lies past the
	// last checkpoint is copied into new files, for the page cache may hold
	// what the disk does not.
	SuspectDisk bool
	// Cleanly says that the last run ended with Close. Without it a start is
	// treated as Suspect.
	Cleanly bool
	// Existing says that an earlier run has opened the log: that no segment is there is
	// damage.
	Existing bool

	// Planted is the promise that is broken on purpose. Default: none.
	Planted *planted.Plan
}

func (c Config) withDefaults() (Config, error) {
	var faults []error
	if c.Dir == "" {
		faults = append(faults, errors.New("commitlog: Dir is empty; name the partition's directory"))
	}
	if c.SegmentBytes < 0 || c.SegmentBytes > maxSegmentBytes {
		faults = append(faults, fmt.Errorf("commitlog: SegmentBytes is %d; want 1 to %d", c.SegmentBytes, maxSegmentBytes))
	}
	if c.IndexIntervalBytes < 0 || c.IndexIntervalBytes > math.MaxInt32 {
		faults = append(faults, fmt.Errorf("commitlog: IndexIntervalBytes is %d; want 1 to %d", c.IndexIntervalBytes, math.MaxInt32))
	}
	if c.LogStart < 0 || c.MaxProducers < 0 || c.LeaderEpoch < 0 {
		faults = append(faults, errors.New("commitlog: LogStart, MaxProducers and LeaderEpoch must not be negative"))
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.IndexIntervalBytes == 0 {
		c.IndexIntervalBytes = defaultIndexInterval
	}
	if c.MaxProducers == 0 {
		c.MaxProducers = defaultMaxProducers
	}
	return c, errors.Join(faults...)
}

// trusted tells whether the page cache holds nothing that the disk lacks.
func (c Config) trusted() bool { return c.Cleanly && !c.Suspect && !c.SuspectDisk }
