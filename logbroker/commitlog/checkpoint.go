package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
)

const (
	checkpointHeader = "levada checkpoint 2"
	maxCheckpoint    = 64 << 20
	keptSnapshots    = 2
)

var errCheckpoint = errors.New("checkpoint is damaged")

// checkpoint describes the log below end, all of which was synced before it
// was written. Recovery reads only what follows.
type checkpoint struct {
	end      int64
	segments []checkpointSegment // ascending; the last may have grown since
}

type checkpointSegment struct {
	base, sizeBytes             int64
	maxTimestamp, maxTimeOffset int64
	compactedTo                 int64
	sums                        indexSums
}

func (c checkpoint) encode() []byte {
	var p bytes.Buffer
	fmt.Fprintf(&p, "%s\nend %d\n", checkpointHeader, c.end)
	for _, s := range c.segments {
		fmt.Fprintf(&p, "segment %d %d %d %d %d %08x %08x\n", s.base, s.sizeBytes, s.maxTimestamp, s.maxTimeOffset, s.compactedTo, s.sums.offsets, s.sums.times)
	}
	fmt.Fprintf(&p, "crc %08x\n", crc32.Checksum(p.Bytes(), castagnoli))
	return p.Bytes()
}

func decodeCheckpoint(p []byte) (checkpoint, error) {
	at := bytes.LastIndex(p, []byte("crc "))
	var sum uint32
	if at < 0 {
		return checkpoint{}, errCheckpoint
	}
	if _, err := fmt.Sscanf(string(p[at:]), "crc %08x\n", &sum); err != nil || sum != crc32.Checksum(p[:at], castagnoli) {
		return checkpoint{}, errCheckpoint
	}
	lines := strings.Split(strings.TrimSuffix(string(p[:at]), "\n"), "\n")
	if len(lines) < 3 || lines[0] != checkpointHeader {
		return checkpoint{}, errCheckpoint
	}
	var c checkpoint
	if _, err := fmt.Sscanf(lines[1], "end %d", &c.end); err != nil {
		return checkpoint{}, errCheckpoint
	}
	last := int64(-1)
	for _, line := range lines[2:] {
		var s checkpointSegment
		_, err := fmt.Sscanf(line, "segment %d %d %d %d %d %x %x", &s.base, &s.sizeBytes, &s.maxTimestamp, &s.maxTimeOffset, &s.compactedTo, &s.sums.offsets, &s.sums.times)
		if err != nil || s.base <= last || s.sizeBytes < 0 || s.base > c.end {
			return checkpoint{}, errCheckpoint
		}
		c.segments, last = append(c.segments, s), s.base
	}
	return c, nil
}

// saveCheckpoint writes what spares the next start from reading the log again.
// All below end is synced; the caller holds the locks of appends and syncs. It
// is derived: a failure costs time at the next start, no data.
func (l *Log) saveCheckpoint() error {
	end := l.end.Load()
	segs := *l.segments.Load()
	c := checkpoint{end: end}
	for _, s := range segs {
		if err := s.writeIndex(); err != nil {
			return err
		}
		ts, offset := s.newestTimestamp()
		c.segments = append(c.segments, checkpointSegment{s.base, s.size.Load(), ts, offset, s.compactedTo.Load(), s.sums})
	}
	l.mu.RLock()
	snapshot := l.state.encodeSnapshot(end)
	l.mu.RUnlock()
	if err := l.dir.writeFile(snapshotName(end), snapshot, true); err != nil {
		return err
	}
	// replaceFile syncs the directory after the rename; the snapshot's name
	// must not be lost while the checkpoint's stays.
	if err := l.dir.sync(); err != nil {
		return err
	}
	if err := l.dir.replaceFile(checkpointFile, c.encode()); err != nil {
		return err
	}
	l.saved = end
	return l.dropSnapshots()
}

// dropSnapshots keeps the newest ones.
func (l *Log) dropSnapshots() error {
	have, err := l.dir.list()
	if err != nil {
		return err
	}
	for i := 0; i < len(have.snapshots)-keptSnapshots; i++ {
		if err := l.dir.remove(snapshotName(have.snapshots[i])); err != nil {
			return err
		}
	}
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
