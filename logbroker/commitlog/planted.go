package commitlog

import "github.com/levada/levada/internal/recordbatch"

// goBack makes the place of the last batch the end of the log again, if b fills
// it: the fault planted.ReuseOffset. appends is held.
func (l *Log) goBack(b recordbatch.Batch) {
	seg, end := l.active(), l.end.Load()
	from := int64(0)
	if err := seg.withIndex(func(x *sparseIndex) { from = x.position(end - 1) }); err != nil {
		return
	}
	for w := newWalker(seg, from, seg.size.Load()); ; {
		last, position, err := w.next()
		switch {
		case err != nil:
			return
		case last.NextOffset() < end:
			continue
		}
		if !last.IsControl() && last.Count() == b.Count() && len(last) <= len(b) {
			seg.size.Store(position)
			seg.appended.size = -1 // for its seal it is read
			l.end.Store(last.BaseOffset())
		}
		return
	}
}

// pretend counts a marker as written that is not: the fault planted.DropMarker.
// appends is held.
func (l *Log) pretend(marker recordbatch.Batch) (offset int64, appended bool, err error) {
	end := l.end.Load()
	marker.SetBaseOffset(end)
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.state.apply(marker)
	l.firstUndecided.Store(l.state.txns.firstUndecided())
	return end - 1, true, err
}
