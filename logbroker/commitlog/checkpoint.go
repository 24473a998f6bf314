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

// describe makes a checkpoint of the log as it is, and the snapshot that goes with
// it; the indexes are written. The caller holds the lock of appends.
func (l *Log) describe() (c checkpoint, snapshot []byte, err error) {
	c.end = l.end.Load()
	active := l.active()
	for _, s := range *l.segments.Load() {
		if err := s.writeIndex(s == active); err != nil {
			return c, nil, err
		}
		ts, offset := s.newestTimestamp()
		c.segments = append(c.segments, checkpointSegment{s.base, s.size.Load(), ts, offset, s.compactedTo.Load(), s.sums})
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return c, l.state.encodeSnapshot(c.end), nil
}

// saveCheckpoint writes what spares the next start from reading the log again.
// All below end is synced; the caller holds the locks of appends and syncs. It
// is derived: a failure costs time at the next start, no data.
func (l *Log) saveCheckpoint() error {
	c, snapshot, err := l.describe()
	if err != nil {
		return err
	}
	// The checkpoint that is in place may have the same end, and name this one. The
	// name is durable before that of the new checkpoint is.
	if err := l.dir.replaceFile(snapshotName(c.end), snapshot); err != nil {
		return err
	}
	if err := l.dir.replaceFile(checkpointFile, c.encode()); err != nil {
		return err
	}
	return l.noteSaved(c)
}

// noteSaved remembers what the next start need not read. appends is held.
func (l *Log) noteSaved(c checkpoint) error {
	before := l.saved
	l.saved, l.savedBytes = c.end, c.segments[len(c.segments)-1].sizeBytes
	return l.dropSnapshots(before)
}

// Checkpoint is one of a log that goes on, in three steps: BeginCheckpoint writes
// it beside the one there is, then it is made durable, for many logs at once where
// the file system can, and Finish puts it in its place. Forgotten after any step,
// it has done nothing.
type Checkpoint struct {
	l        *Log
	is       checkpoint
	segments *[]*segment
}

// BeginCheckpoint begins a checkpoint if at least so many bytes of the log would
// have to be read by a start after a crash; otherwise it returns nil.
func (l *Log) BeginCheckpoint(least int64) (*Checkpoint, error) {
	l.appends.Lock()
	defer l.appends.Unlock()
	if l.usable() != nil || l.swapping || l.active().size.Load()-l.savedBytes < least {
		return nil, nil
	}
	c, snapshot, err := l.describe()
	if err != nil {
		return nil, err
	}
	if err := l.dir.writeFile(snapshotName(c.end), snapshot, false); err != nil {
		return nil, err
	}
	if err := l.dir.writeFile(nextCheckpoint, c.encode(), false); err != nil {
		return nil, err
	}
	return &Checkpoint{l, c, l.segments.Load()}, nil
}

// Sync makes the checkpoint durable, and the log up to it, where the caller cannot
// do so for the whole file system.
func (c *Checkpoint) Sync() error {
	if err := c.l.Sync(); err != nil {
		return err
	}
	for _, name := range []string{snapshotName(c.is.end), nextCheckpoint} {
		f, err := c.l.dir.fs.Open(c.l.dir.join(name))
		if isNotExist(err) {
			return nil // a newer one was written, which Finish notices
		}
		if err != nil {
			return fmt.Errorf("commitlog: %w", err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("commitlog: %s: %w", name, err)
		}
	}
	return c.l.dir.sync()
}

// Finish puts a durable checkpoint in its place, unless the segments have changed
// meanwhile, for which a newer one was written. The snapshot before it is kept: it
// is needed until the new name is durable, which is so before the next one is.
func (c *Checkpoint) Finish() error {
	l := c.l
	l.appends.Lock()
	defer l.appends.Unlock()
	if l.closed.Load() {
		return nil // another log may have the directory by now
	}
	if l.usable() != nil || l.segments.Load() != c.segments || l.saved > c.is.end {
		return l.dir.remove(nextCheckpoint)
	}
	if err := l.dir.fs.Rename(l.dir.join(nextCheckpoint), l.dir.join(checkpointFile)); err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	return l.noteSaved(c.is)
}

// dropSnapshots keeps that of the checkpoint and that of the one before.
func (l *Log) dropSnapshots(before int64) error {
	have, err := l.dir.list()
	if err != nil {
		return err
	}
	for _, end := range have.snapshots {
		if end == l.saved || end == before {
			continue
		}
		if err := l.dir.remove(snapshotName(end)); err != nil {
			return err
		}
	}
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
