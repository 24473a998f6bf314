package commitlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
)

const (
	checkpointHeader = "levada checkpoint 3"
	maxCheckpoint    = 1 << 30

	checkpointMagic = "LVCP"
	checkpointHead  = 16

	// So many checkpoints, and bytes, are in the file before it is replaced: a start
	// reads all of it.
	maxCheckpoints     = 16
	maxCheckpointsSize = 1 << 20
)

var errCheckpoint = errors.New("checkpoint is damaged")

// checkpoint describes the log below end, all of which was synced before it
// counts. Recovery reads only what follows.
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

// encode gives what is appended to the file of checkpoints. With zeros in place of
// the magic it does not count yet.
//
//	4  "LVCP"
//	4  length of the text    4 length of the snapshot
//	4  CRC-32C of the lengths and all that follows
//	   the text, the snapshot (encodeSnapshot)
func (c checkpoint) encode(snapshot []byte) []byte {
	p := bytes.NewBuffer(make([]byte, checkpointHead, checkpointHead+64+80*len(c.segments)+len(snapshot)))
	fmt.Fprintf(p, "%s\nend %d\n", checkpointHeader, c.end)
	for _, s := range c.segments {
		fmt.Fprintf(p, "segment %d %d %d %d %d %08x %08x\n", s.base, s.sizeBytes, s.maxTimestamp, s.maxTimeOffset, s.compactedTo, s.sums.offsets, s.sums.times)
	}
	text := p.Len() - checkpointHead
	p.Write(snapshot)
	out := p.Bytes()
	copy(out, checkpointMagic)
	binary.BigEndian.PutUint32(out[4:], uint32(text))
	binary.BigEndian.PutUint32(out[8:], uint32(len(snapshot)))
	binary.BigEndian.PutUint32(out[12:], checkpointSum(out))
	return out
}

func checkpointSum(p []byte) uint32 {
	return crc32.Update(crc32.Checksum(p[4:12], castagnoli), castagnoli, p[checkpointHead:])
}

// lastCheckpoint gives the last checkpoint of a file that counts, and its snapshot.
// What does not count yet, at the end, is passed over; torn tells that something else
// is there, which a crash may have left.
func lastCheckpoint(p []byte) (c checkpoint, snapshot []byte, torn bool, err error) {
	file, text, snapshot := wholeCheckpoints(p)
	torn = !unarmed(p[file.size:])
	if text == nil {
		return checkpoint{}, nil, true, errCheckpoint
	}
	c, err = parseCheckpoint(string(text))
	return c, snapshot, torn || err != nil, err
}

// wholeCheckpoints counts those in a file that count, and gives the parts of the last.
func wholeCheckpoints(p []byte) (file checkpoints, text, snapshot []byte) {
	for len(p) >= checkpointHead && string(p[:4]) == checkpointMagic {
		t, s := uint64(binary.BigEndian.Uint32(p[4:])), uint64(binary.BigEndian.Uint32(p[8:]))
		size := checkpointHead + t + s
		if size > uint64(len(p)) || checkpointSum(p[:size]) != binary.BigEndian.Uint32(p[12:]) {
			break
		}
		text, snapshot = p[checkpointHead:checkpointHead+t], p[checkpointHead+t:size]
		p, file = p[size:], file.with(int(size))
	}
	return file, text, snapshot
}

func unarmed(p []byte) bool {
	return !slices.ContainsFunc(p[:min(len(p), len(checkpointMagic))], func(c byte) bool { return c != 0 })
}

func parseCheckpoint(text string) (c checkpoint, err error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 || lines[0] != checkpointHeader {
		return checkpoint{}, errCheckpoint
	}
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

// checkpoints is the file of them as this run left or found it: checkpoints are appended,
// for making a file costs more than writing one. The zero value is one whose end nobody
// knows, which is replaced: what a crash left, or one that is being added.
type checkpoints struct {
	size  int64
	count int
}

func (f checkpoints) hasRoom(bytes int) bool {
	return f.count > 0 && f.count < maxCheckpoints && f.size+int64(bytes) <= maxCheckpointsSize
}

// with is the file after one more, of so many bytes.
func (f checkpoints) with(bytes int) checkpoints {
	return checkpoints{f.size + int64(bytes), f.count + 1}
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
	l.begun = nil
	c, snapshot, err := l.describe()
	if err != nil {
		return err
	}
	file, p := l.checkpoints, c.encode(snapshot)
	size := len(p)
	l.checkpoints = checkpoints{} // until it is written
	if file.hasRoom(size) {
		if err = l.addCheckpoint(p, file.size); err == nil {
			err = l.arm(file.size)
		}
		if err == nil {
			err = l.syncCheckpoint()
		}
	} else {
		file = checkpoints{}
		err = l.dir.replaceFile(checkpointFile, p)
	}
	if err == nil {
		l.noteSaved(c, file.with(size))
		l.firm = c.end
	}
	return err
}

// addCheckpoint writes one at the end of the file, where it does not count until arm.
func (l *Log) addCheckpoint(p []byte, at int64) error {
	clear(p[:len(checkpointMagic)])
	return l.dir.writeAt(checkpointFile, p, at)
}

func (l *Log) arm(at int64) error {
	return l.dir.writeAt(checkpointFile, []byte(checkpointMagic), at)
}

// noteSaved remembers what the next start need not read. appends is held.
func (l *Log) noteSaved(c checkpoint, file checkpoints) {
	l.saved, l.savedBytes = c.end, c.segments[len(c.segments)-1].sizeBytes
	l.checkpoints = file
}

// makeFirm makes the last checkpoint durable. appends is held.
func (l *Log) makeFirm() error {
	if l.firm == l.saved {
		return nil
	}
	if err := l.syncCheckpoint(); err != nil {
		return err
	}
	l.firm = l.saved
	return nil
}

func (l *Log) syncCheckpoint() error {
	if err := l.dir.syncFile(checkpointFile); err != nil && !isNotExist(err) {
		return err
	}
	return l.dir.sync()
}

// Checkpoint is one of a log that goes on, in three steps: BeginCheckpoint writes
// it so that it does not count, then all that it tells of is made durable, for many
// logs at once where the file system can, and Finish makes it count. Forgotten after
// any step, it has done nothing.
type Checkpoint struct {
	l    *Log
	is   checkpoint
	size int         // in bytes
	file checkpoints // that it is added to; where that has no room it begins another
}

// Unsaved is how many bytes of the log a start after a crash would have to read. It
// waits for an append that is under way.
func (l *Log) Unsaved() int64 {
	l.appends.Lock()
	defer l.appends.Unlock()
	return l.active().size.Load() - l.savedBytes
}

// BeginCheckpoint begins a checkpoint if at least so many bytes of the log would
// have to be read by a start after a crash; otherwise it returns nil.
func (l *Log) BeginCheckpoint(least int64) (*Checkpoint, error) {
	l.appends.Lock()
	defer l.appends.Unlock()
	if l.usable() != nil || l.swapping || l.active().size.Load()-l.savedBytes < least {
		return nil, nil
	}
	is, snapshot, err := l.describe()
	if err != nil {
		return nil, err
	}
	p := is.encode(snapshot)
	c := &Checkpoint{l, is, len(p), l.checkpoints}
	l.begun, l.checkpoints = c, checkpoints{}
	if c.added() {
		err = l.addCheckpoint(p, c.file.size)
	} else {
		err = l.dir.writeFile(nextCheckpoint, p, false)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Checkpoint) added() bool { return c.file.hasRoom(c.size) }

// Sync makes durable what the checkpoint tells of, where the caller cannot do so for
// the whole file system.
func (c *Checkpoint) Sync() error {
	if err := c.l.Sync(); err != nil {
		return err
	}
	name := nextCheckpoint
	if c.added() {
		name = checkpointFile
	} else if err := c.l.dir.syncFile(checkpointFile); err != nil && !isNotExist(err) {
		return err // the one before it may be the last that was added there
	}
	err := c.l.dir.syncFile(name)
	if isNotExist(err) {
		return nil // a newer one was written, which Finish notices
	}
	return errors.Join(err, c.l.dir.sync())
}

// Finish makes the checkpoint count, unless a newer one was written or begun. The one
// before it is durable by now; it is so itself when the next one is.
func (c *Checkpoint) Finish() error {
	l := c.l
	l.appends.Lock()
	defer l.appends.Unlock()
	if l.closed.Load() {
		return nil // another log may have the directory by now
	}
	if l.begun != c && l.begun != nil {
		return nil // what was written is that one's
	}
	late := l.begun == nil
	l.begun = nil
	if late || l.usable() != nil {
		return l.dir.remove(nextCheckpoint)
	}
	file := c.file
	var err error
	if c.added() {
		err = l.arm(file.size)
	} else {
		file = checkpoints{}
		err = l.dir.rename(nextCheckpoint, checkpointFile)
	}
	if err == nil {
		l.firm = l.saved
		l.noteSaved(c.is, file.with(c.size))
	}
	return err
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
