package commitlog

import "github.com/cockroachdb/pebble/v2/vfs"

// WriteOut hands what was appended since it was last called, or since the last sync, to the
// disk, and does not wait until it is there: the sync that follows finds little left to do.
// Nothing is durable by it. It returns false where the system cannot be asked, or refuses;
// a sync says why.
func (l *Log) WriteOut() bool {
	if !l.syncing.TryLock() {
		return true // a sync is under way
	}
	defer l.syncing.Unlock()
	if l.usable() != nil {
		return false
	}
	seg := l.active()
	size, fd := seg.size.Load(), seg.file.Fd()
	if fd == vfs.InvalidFd || !writeOut(fd, seg.out, size-seg.out) {
		return false
	}
	l.handed(seg, size)
	return true
}

// Written is how far a log was written at a moment.
type Written struct {
	l    *Log
	seg  *segment
	size int64
}

// Written tells how far the log is written now. Whoever gives the disk all of that in another
// way than by WriteOut says so by Given.
func (l *Log) Written() Written {
	seg := l.active()
	return Written{l, seg, seg.size.Load()}
}

// Given takes note that the disk has, or will get, what was appended before Written. Nothing
// counts as durable by that. Where a sync is under way it has no effect: the sync takes note
// of what it has made durable.
func (w Written) Given() {
	if !w.l.syncing.TryLock() {
		return
	}
	defer w.l.syncing.Unlock()
	if w.size > w.seg.out {
		w.l.handed(w.seg, w.size)
	}
}

// handed takes note that the disk has, or will get, the first bytes of a segment. syncing
// is held.
func (l *Log) handed(seg *segment, size int64) {
	seg.out = size
	l.cfg.Cache.written(seg, size, false)
}
