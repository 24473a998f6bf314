package commitlog

import (
	"encoding/binary"
	"errors"
	"math"
	"sort"

	"github.com/levada/levada/internal/recordbatch"
)

const (
	offsetEntrySize = 8
	timeEntrySize   = 12
	noTimestamp     = math.MinInt64
)

var errIndex = errors.New("index does not agree with its segment")

// offsetEntry says where in the file the batch begins whose last offset is
// base+relative. A segment that is written to ends at 2 GiB; compaction, which compresses
// anew, may make a larger one.
type offsetEntry struct {
	relative int32
	position uint32
}

// timeEntry says that no batch up to base+relative has a larger timestamp.
type timeEntry struct {
	timestamp int64
	relative  int32
}

// sparseIndex finds places in one segment. Both lists ascend strictly.
type sparseIndex struct {
	base          int64
	intervalBytes int
	offsets       []offsetEntry
	times         []timeEntry
	sinceEntry    int // bytes after the last entry
	maxTimestamp  int64
	maxTimeOffset int64 // last offset of the first batch that has it
}

func newIndex(base int64, intervalBytes int) *sparseIndex {
	return &sparseIndex{base: base, intervalBytes: intervalBytes, maxTimestamp: noTimestamp, maxTimeOffset: -1}
}

// add notes the next batch of the segment.
func (x *sparseIndex) add(b recordbatch.Batch, position int64) {
	last := b.LastOffset()
	if ts := b.MaxTimestamp(); ts > x.maxTimestamp {
		x.maxTimestamp, x.maxTimeOffset = ts, last
	}
	if x.sinceEntry > x.intervalBytes && position <= math.MaxUint32 {
		x.offsets = append(x.offsets, offsetEntry{int32(last - x.base), uint32(position)})
		x.addTime()
		x.sinceEntry = 0
	}
	x.sinceEntry += len(b)
}

// addTime appends the largest timestamp so far, unless it is there.
func (x *sparseIndex) addTime() {
	if x.maxTimeOffset < 0 {
		return
	}
	if n := len(x.times); n > 0 && x.times[n-1].timestamp >= x.maxTimestamp {
		return
	}
	x.times = append(x.times, timeEntry{x.maxTimestamp, int32(x.maxTimeOffset - x.base)})
}

// position is a place at or before the batch that holds offset.
func (x *sparseIndex) position(offset int64) int64 {
	i := sort.Search(len(x.offsets), func(i int) bool { return x.base+int64(x.offsets[i].relative) > offset })
	if i == 0 {
		return 0
	}
	return int64(x.offsets[i-1].position)
}

// offsetBefore is an offset at or before the first batch that holds a
// timestamp of at least ms.
func (x *sparseIndex) offsetBefore(ms int64) int64 {
	i := sort.Search(len(x.times), func(i int) bool { return x.times[i].timestamp >= ms })
	if i == 0 {
		return x.base
	}
	return x.base + int64(x.times[i-1].relative)
}

// encode gives the bytes of the .index and the .timeindex file after those that are
// written.
func (x *sparseIndex) encode(written indexSizes) (offsets, times []byte) {
	x.addTime()
	newOffsets, newTimes := x.offsets[written.offsets/offsetEntrySize:], x.times[written.times/timeEntrySize:]
	offsets = make([]byte, 0, len(newOffsets)*offsetEntrySize)
	for _, e := range newOffsets {
		offsets = binary.BigEndian.AppendUint32(offsets, uint32(e.relative))
		offsets = binary.BigEndian.AppendUint32(offsets, e.position)
	}
	times = make([]byte, 0, len(newTimes)*timeEntrySize)
	for _, e := range newTimes {
		times = binary.BigEndian.AppendUint64(times, uint64(e.timestamp))
		times = binary.BigEndian.AppendUint32(times, uint32(e.relative))
	}
	return offsets, times
}

// decode reads both files back. sizeBytes and end are those of the segment;
// every entry must lie in them, in ascending order.
func (x *sparseIndex) decode(offsets, times []byte, sizeBytes, end int64) error {
	if len(offsets)%offsetEntrySize != 0 || len(times)%timeEntrySize != 0 {
		return errIndex
	}
	relative, position := int32(-1), int64(-1)
	for ; len(offsets) > 0; offsets = offsets[offsetEntrySize:] {
		e := offsetEntry{int32(binary.BigEndian.Uint32(offsets)), binary.BigEndian.Uint32(offsets[4:])}
		if e.relative <= relative || int64(e.position) <= position || int64(e.position) >= sizeBytes || x.base+int64(e.relative) >= end {
			return errIndex
		}
		x.offsets, relative, position = append(x.offsets, e), e.relative, int64(e.position)
	}
	before := timeEntry{noTimestamp, -1}
	for ; len(times) > 0; times = times[timeEntrySize:] {
		e := timeEntry{int64(binary.BigEndian.Uint64(times)), int32(binary.BigEndian.Uint32(times[8:]))}
		if e.timestamp <= before.timestamp || e.relative <= before.relative || x.base+int64(e.relative) >= end {
			return errIndex
		}
		x.times, before = append(x.times, e), e
		x.maxTimestamp, x.maxTimeOffset = e.timestamp, x.base+int64(e.relative)
	}
	x.sinceEntry = int(sizeBytes)
	if n := len(x.offsets); n > 0 {
		x.sinceEntry = int(sizeBytes - int64(x.offsets[n-1].position))
	}
	return nil
}
