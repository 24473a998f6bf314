package commitlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Frozen is a log that takes no append until it is thawed, so that a copy of it
// can be begun.
type Frozen struct {
	l      *Log
	base   int64 // of the active segment
	size   int64
	end    int64
	synced int64
	to     *directory // of the copy
	thawed bool
}

// Freeze waits for the append that is under way and keeps others from beginning.
// Reads and syncs go on. ErrFailed and ErrClosed say that the log cannot be used.
func (l *Log) Freeze() (*Frozen, error) {
	l.appends.Lock()
	err := l.usable()
	if err == nil && l.swapping {
		err = errors.New("commitlog: a compaction is not finished; it is tried again within seconds")
	}
	if err != nil {
		l.appends.Unlock()
		return nil, err
	}
	seg := l.active()
	return &Frozen{l: l, base: seg.base, size: seg.size.Load(), end: l.end.Load(), synced: l.syncedEnd.Load()}, nil
}

// Thaw lets appends go on.
func (f *Frozen) Thaw() {
	if !f.thawed {
		f.thawed = true
		f.l.appends.Unlock()
	}
}

// End is the end of the log when it was frozen.
func (f *Frozen) End() int64 { return f.end }

// LinkTo begins a copy in a directory of the same file system, which is made: all
// files that never change get a second name there.
func (f *Frozen) LinkTo(dir string) error {
	from := f.l.dir
	f.to = &directory{from.fs, dir}
	if err := from.fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	link := func(name, as string, must bool) error {
		err := from.fs.Link(from.join(name), f.to.join(as))
		if err != nil && (must || !isNotExist(err)) {
			return fmt.Errorf("commitlog: %w", err)
		}
		return nil
	}
	for _, s := range *f.l.segments.Load() {
		if s.base == f.base {
			// It goes on growing: Complete copies what is there now.
			if err := link(logName(s.base), logName(s.base)+cutSuffix, true); err != nil {
				return err
			}
			continue
		}
		err := link(logName(s.base), logName(s.base), true)
		for _, name := range []string{indexName(s.base), timeIndexName(s.base), sealName(s.base)} {
			err = errors.Join(err, link(name, name, false))
		}
		if err != nil {
			return err
		}
	}
	return f.copySmall(checkpointFile) // others will be added to it
}

// MakeEmpty makes the copy, which is not synced, of a log that could not be begun.
func MakeEmpty(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	return (&directory{fs, dir}).writeFile(logName(0), nil, false)
}

// copySmall copies a file that may be missing.
func (f *Frozen) copySmall(name string) error {
	data, err := f.l.dir.readFile(name, maxSegmentBytes)
	if err == nil {
		err = f.to.writeFile(name, data, false)
	}
	if isNotExist(err) {
		return nil
	}
	return err
}

// Complete copies the end of the log as it was when it was frozen. The log may have
// been thawed. The copy is not synced.
func (f *Frozen) Complete() error {
	source := logName(f.base) + cutSuffix
	if err := f.to.copyAs(source, logName(f.base), f.size); err != nil {
		return err
	}
	if err := f.to.remove(source); err != nil {
		return err
	}
	for _, name := range []string{indexName(f.base), timeIndexName(f.base)} {
		// It may be that of a moment later, of which the checkpoint knows the
		// beginning; or be missing.
		if err := f.copySmall(name); err != nil {
			return err
		}
	}
	var mark [markSize]byte
	encodeMark(&mark, f.synced)
	return f.to.writeFile(markFile, mark[:], false)
}
