package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

// flushBytes is how much of a compacted segment is written at once.
const flushBytes = 1 << 20

// newFile is a compacted segment while it is written.
type newFile struct {
	name  string
	file  vfs.File
	seg   *segment
	size  int64
	sum   uint32
	newer bool // it differs from what it replaces
}

// rewrite makes one compacted segment of a group and puts it in its place.
func (r *compactRun) rewrite(group []*segment) (err error) {
	dir, first, last := r.log.dir, group[0], group[len(group)-1]
	r.buf = r.buf[:0]
	n := &newFile{name: logName(first.base) + compactSuffix, seg: newSegment(dir, first.base, first.interval), newer: len(group) > 1}
	n.seg.index = newIndex(first.base, first.interval)
	if n.file, err = dir.fs.Create(dir.join(n.name), writeCategory); err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	var before int64
	for _, s := range group {
		before += s.size.Load()
		if err == nil {
			err = r.copySegment(n, s)
		}
	}
	r.forgetAborted()
	if err == nil {
		err = n.flush(r.Compactor)
	}
	if err == nil {
		err = n.file.Sync()
	}
	if err = errors.Join(err, n.file.Close()); err != nil {
		return errors.Join(err, dir.remove(n.name))
	}
	r.stats.BytesBefore, r.stats.BytesAfter = r.stats.BytesBefore+before, r.stats.BytesAfter+n.size
	sl := seal{base: first.base, end: last.end.Load(), sizeBytes: n.size, sum: n.sum, compactedTo: min(r.to, last.end.Load())}
	if !n.newer && n.size == before {
		return errors.Join(r.reseal(first, sl), dir.remove(n.name))
	}
	return r.log.swapIn(group, n, sl)
}

// reseal notes that compaction found nothing to remove in a segment.
func (r *compactRun) reseal(s *segment, sl seal) error {
	l := r.log
	l.appends.Lock()
	defer l.appends.Unlock()
	// Another log may have the directory by now.
	if err := l.usable(); err != nil {
		return err
	}
	if !slices.Contains(*l.segments.Load(), s) {
		return nil // deleted meanwhile
	}
	if err := l.dir.replaceFile(sealName(s.base), sl.encode()); err != nil {
		return err
	}
	s.compactedTo.Store(sl.compactedTo)
	return nil
}

func (r *compactRun) copySegment(n *newFile, s *segment) error {
	return r.eachBatch(s, func(b recordbatch.Batch) error {
		at := len(r.buf)
		out, err := r.filterBatch(r.buf, b)
		if err != nil {
			return &DamageError{Path: s.path(), Offset: b.BaseOffset(), Reason: err}
		}
		r.buf = out
		if c := recordbatch.Batch(out[at:]); len(c) > 0 {
			n.newer = n.newer || !bytes.Equal(c, b)
			n.seg.index.add(c, n.size+int64(at))
		} else {
			n.newer = true
		}
		if len(out) >= flushBytes {
			return n.flush(r.Compactor)
		}
		return nil
	})
}

// flush writes what was collected. The bytes belong to the file system then.
func (n *newFile) flush(c *Compactor) error {
	if len(c.buf) == 0 {
		return nil
	}
	n.sum = crc32.Update(n.sum, castagnoli, c.buf)
	n.size += int64(len(c.buf))
	_, err := n.file.Write(c.buf)
	c.buf = c.buf[:0]
	if err != nil {
		return fmt.Errorf("commitlog: %s: %w", n.name, err)
	}
	return nil
}

// swapIn puts a compacted segment, which is durable, in the place of a group.
func (l *Log) swapIn(group []*segment, n *newFile, sl seal) error {
	l.appends.Lock()
	defer l.appends.Unlock()
	if err := l.usable(); err != nil {
		return errors.Join(err, l.dir.remove(n.name))
	}
	segs := *l.segments.Load()
	at := slices.Index(segs, group[0])
	if at < 0 || len(segs) < at+len(group) || segs[at+len(group)-1] != group[len(group)-1] {
		return l.dir.remove(n.name) // some were deleted meanwhile
	}
	s := n.seg
	s.size.Store(sl.sizeBytes)
	s.end.Store(sl.end)
	s.compactedTo.Store(sl.compactedTo)
	s.hasSeal.Store(true)
	decision := swap{seal: sl}
	decision.maxTimestamp, decision.maxTimeOffset = s.newestTimestamp()
	for _, old := range group[1:] {
		decision.gone = append(decision.gone, old.base)
	}
	// Its name must be durable before the decision: without it that counts as
	// carried out.
	if err := l.dir.sync(); err != nil {
		return errors.Join(err, l.dir.remove(n.name))
	}
	// From here on it is in place, whatever happens: a start carries it out.
	if err := l.dir.replaceFile(swapFile, decision.encode()); err != nil {
		// It may be durable nevertheless, so what it needs stays until it is gone.
		if forget := l.dir.forgetSwap(); forget != nil {
			l.swapping = true
			return errors.Join(err, forget)
		}
		return errors.Join(err, l.dir.remove(n.name))
	}
	l.swapping = true
	file, err := l.dir.fs.Open(l.dir.join(n.name))
	if err != nil {
		return l.fail(err)
	}
	// The file has its name before anybody can close and open it again.
	s.files.Lock()
	s.file = share(file)
	next := slices.Concat(segs[:at], []*segment{s}, segs[at+len(group):])
	l.segments.Store(&next)
	for _, old := range group {
		err = errors.Join(err, old.close())
	}
	err = errors.Join(err, l.dir.carryOut(decision))
	s.files.Unlock()
	// Not before: who wakes a segment may wait, with the lock of those awake, to
	// park this one.
	for _, old := range group {
		l.hints.drop(old)
		l.awake.drop(old)
	}
	if err != nil {
		return l.fail(err)
	}
	l.cfg.Cache.written(s, sl.sizeBytes, true)
	defer l.rest(s) // its index can be read from its file then
	return l.finishSwap()
}

// finishSwap writes the checkpoint that fits the segments, and forgets the
// decision. appends is held.
func (l *Log) finishSwap() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.syncActive(); err != nil {
		return err
	}
	l.checkpoints = checkpoints{} // those before it tell of segments that are gone
	if err := l.saveCheckpoint(); err != nil {
		return err
	}
	if err := l.dir.forgetSwap(); err != nil {
		return err
	}
	l.swapping = false
	return nil
}

// settleSwap does what was left of the last swap.
func (l *Log) settleSwap() error {
	l.appends.Lock()
	defer l.appends.Unlock()
	if err := l.usable(); err != nil || !l.swapping {
		return err
	}
	return l.finishSwap()
}
