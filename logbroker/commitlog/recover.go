package commitlog

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/levada/levada/internal/recordbatch"
)

// Open opens or creates the log in cfg.Dir and recovers what the last run left.
// After a clean end it reads the checkpoint and the last few batches; otherwise
// all that follows the checkpoint, which it syncs before it returns. A
// *DamageError says that durable batches cannot be read, or are missing; the
// files are left as they are.
func Open(cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &recovery{cfg: cfg}
	l, err := r.open()
	if damage := (*DamageError)(nil); errors.As(err, &damage) && r.usesDeleted {
		cfg.Logger.Warn("deleted segments cannot be read; producers that wrote nothing else are forgotten", "dir", cfg.Dir, "error", err)
		r = &recovery{cfg: cfg, withoutDeleted: true}
		l, err = r.open()
	}
	return l, err
}

// recovery is one Open.
type recovery struct {
	cfg      Config
	dir      *directory
	log      *slog.Logger
	mark     int64 // all below was synced
	bases    []int64
	deleted  []int64 // bases of segments below the log start that are not read
	segments []*segment
	state    *state
	from     int // the first segment to read
	fromByte int64
	end      int64 // of what was read so far
	saved    int64 // end of the log as the checkpoint has it
	read     int64 // bytes that no checkpoint vouched for
	created  bool  // the log is new
	swap     *swap // a decision that was made and may not be carried out
	changed  bool  // there is more, or less, than the checkpoint says
	torn     bool  // the file of checkpoints has to be replaced
	file     checkpoints
	notes    damageList
	// usesDeleted: segments below the log start are read, for no checkpoint knows who
	// wrote them. withoutDeleted: none may be.
	usesDeleted, withoutDeleted bool
}

func (r *recovery) open() (*Log, error) {
	r.dir, r.log = &directory{r.cfg.FS, r.cfg.Dir}, r.cfg.Logger
	l, err := r.run()
	if err != nil {
		for _, s := range r.segments {
			err = errors.Join(err, s.close())
		}
		return nil, err
	}
	return l, nil
}

func (r *recovery) run() (*Log, error) {
	if err := r.cfg.FS.MkdirAll(r.dir.path, 0o700); err != nil {
		return nil, fmt.Errorf("commitlog: %w", err)
	}
	if err := r.survey(); err != nil {
		return nil, err
	}
	if err := r.trustCheckpoint(); err != nil {
		return nil, err
	}
	if err := r.readRest(); err != nil {
		return nil, err
	}
	if err := r.settle(); err != nil {
		return nil, err
	}
	return r.finish()
}

// survey lists the segments, drops what an interruption left, and checks that none is
// missing at the front.
func (r *recovery) survey() error {
	var err error
	if r.swap, err = r.dir.readSwap(); err != nil {
		return err
	}
	if r.swap != nil {
		// A kill may have left it in the page cache alone.
		if err := r.dir.sync(); err != nil {
			return err
		}
		if err := r.dir.carryOut(*r.swap); err != nil {
			return err
		}
		r.changed = true
	}
	have, err := r.dir.list()
	if err != nil {
		return err
	}
	for _, name := range have.leftovers {
		if err := r.dir.remove(name); err != nil {
			return err
		}
	}
	r.bases = have.segments
	r.mark = readMark(r.dir)
	if len(r.bases) == 0 {
		if err := r.empty(); err != nil {
			return err
		}
		r.bases = []int64{r.cfg.LogStart}
		r.created = true
	} else if r.bases[0] > r.cfg.LogStart {
		return r.missing(r.cfg.LogStart, fmt.Sprintf("the first segment begins at offset %d", r.bases[0]))
	}
	return nil
}

// take decides which segments are part of the log: of those below its start, which a
// DeleteTo left, only such as a checkpoint that ends at known does not know.
func (r *recovery) take(known int64) {
	n := 0
	isDeleted := func() bool { return n+1 < len(r.bases) && r.bases[n+1] <= r.cfg.LogStart }
	for isDeleted() && (r.withoutDeleted || r.bases[n+1] <= known) {
		n++
	}
	r.usesDeleted, r.deleted = isDeleted(), r.bases[:n]
	for _, base := range r.bases[n:] {
		r.segments = append(r.segments, newSegment(r.dir, base, r.cfg.IndexIntervalBytes))
	}
	r.end = r.segments[0].base
	r.saved = r.end
}

// empty judges that there is no segment.
func (r *recovery) empty() error {
	if r.cfg.Existing || r.mark > r.cfg.LogStart {
		return r.missing(r.cfg.LogStart, "no segment is there")
	}
	return nil
}

func (r *recovery) missing(offset int64, why string) error {
	return &DamageError{Path: r.dir.join(logName(offset)), Offset: offset, Reason: errors.New(why)}
}

// trustCheckpoint takes over what the last checkpoint says of the log below its end.
// Without one everything is read.
func (r *recovery) trustCheckpoint() error {
	r.state = newState(r.cfg.MaxProducers)
	c, state, err := r.lastCheckpoint()
	garbage := errors.Is(err, errCheckpoint) || errors.Is(err, errSnapshot)
	if err != nil && !garbage && !isNotExist(err) && r.bases[0] > 0 {
		return err // what it knows of deleted records is not lost, where it can be read later
	}
	if err != nil {
		r.take(-1)
		if !isNotExist(err) {
			r.torn = true
			r.log.Warn("the checkpoint cannot be used; the whole log is read", "dir", r.dir.path, "error", err)
		}
	} else {
		r.take(c.end)
	}
	first := slices.IndexFunc(c.segments, func(s checkpointSegment) bool { return s.base >= r.segments[0].base })
	switch {
	case first < 0 && c.end != r.segments[0].base:
		return nil // there is none, or all it knows was deleted since, and more
	case first < 0:
		first = len(c.segments)
	}
	known := c.segments[first:]
	for i, k := range known {
		if i >= len(r.segments) || r.segments[i].base != k.base {
			return r.missing(k.base, "the checkpoint names it, and it is not there")
		}
	}
	if err != nil {
		return nil
	}
	r.state = state
	return r.adopt(known, c.end)
}

// lastCheckpoint reads the last one. Where its snapshot cannot be used, it tells
// nevertheless what was durable.
func (r *recovery) lastCheckpoint() (c checkpoint, state *state, err error) {
	data, err := r.dir.readFile(checkpointFile, maxCheckpoint)
	if err != nil {
		return checkpoint{}, nil, err
	}
	var snapshot []byte
	if c, snapshot, r.torn, err = lastCheckpoint(data); err != nil {
		return checkpoint{}, nil, err
	}
	// Others can be added where it tells of no segment that is gone, and is on the disk.
	if file, _, _ := wholeCheckpoints(data); file.size == int64(len(data)) && r.swap == nil && !r.cfg.SuspectDisk {
		r.file = file
	}
	r.mark = max(r.mark, c.end)
	r.swap.amend(&c)
	state, err = decodeSnapshot(snapshot, c.end, r.cfg.MaxProducers)
	return c, state, err
}

// adopt sets the segments below end as the checkpoint describes them.
func (r *recovery) adopt(known []checkpointSegment, end int64) error {
	for i, k := range known {
		s := r.segments[i]
		size, err := r.fileSize(s)
		if err != nil {
			return err
		}
		if size < k.sizeBytes {
			return &DamageError{Path: s.path(), Position: size, Offset: s.base, Reason: fmt.Errorf("%d bytes of %d are there", size, k.sizeBytes)}
		}
		segEnd := end
		if i+1 < len(known) {
			segEnd = known[i+1].base
		}
		s.size.Store(k.sizeBytes)
		s.end.Store(segEnd)
		s.sums, s.maxTimestamp, s.maxTimeOffset = k.sums, k.maxTimestamp, k.maxTimeOffset
		s.compactedTo.Store(k.compactedTo)
		r.from, r.fromByte = i, k.sizeBytes
	}
	r.end, r.saved = end, end
	return nil
}

func (r *recovery) fileSize(s *segment) (int64, error) {
	info, err := r.cfg.FS.Stat(s.path())
	if err != nil {
		return 0, fmt.Errorf("commitlog: %w", err)
	}
	return info.Size(), nil
}

// readRest reads the batches that no checkpoint vouches for, up to the first
// that is not whole. In the last segment that is a torn tail and is cut off.
func (r *recovery) readRest() error {
	for i := r.from; i < len(r.segments); i++ {
		s, last := r.segments[i], i == len(r.segments)-1
		at := int64(0)
		if i == r.from {
			at = r.fromByte
		}
		if s.base != r.end && at == 0 {
			return &DamageError{Path: s.path(), Offset: r.end, Reason: fmt.Errorf("the segment begins at offset %d", s.base)}
		}
		if last {
			// Created by a run that ended before it wrote to it, or now.
			if err := s.open(true); err != nil {
				return err
			}
		}
		if err := r.readSegment(s, at, last); err != nil {
			return err
		}
	}
	return nil
}

func (r *recovery) readSegment(s *segment, at int64, last bool) error {
	limit, err := r.fileSize(s)
	if err != nil {
		return err
	}
	end := int64(-1) // as the seal says
	if at == 0 && !last {
		if end, err = r.checkSeal(s, limit); err != nil {
			return err
		}
	}
	var index *sparseIndex
	if at == 0 {
		index = newIndex(s.base, s.interval)
	} else if err := s.withIndex(func(x *sparseIndex) { index = x }); err != nil {
		return err
	} else if err := r.checkEnd(s, index, at); err != nil {
		return err
	}
	w := newWalker(s, at, limit)
	for {
		b, position, err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = r.accept(s, b)
		}
		if err != nil {
			if err := r.endOfBatches(s, position, limit, last, err); err != nil {
				return err
			}
			break
		}
		index.add(b, position)
		r.end = b.NextOffset()
		s.size.Store(w.at)
		r.read += int64(len(b))
		r.changed = true
	}
	if s.compactedTo.Load() >= 0 {
		r.end = max(r.end, end)
	}
	s.end.Store(r.end)
	s.lookup.Lock()
	s.index = index
	s.lookup.Unlock()
	return nil
}

// checkSeal compares a segment that is read from its start with its seal, if it
// has one, and returns the end of its offsets, otherwise -1.
func (r *recovery) checkSeal(s *segment, sizeBytes int64) (end int64, err error) {
	known, ok, err := r.dir.readSeal(s.base)
	if err != nil || !ok {
		return -1, err
	}
	if err := known.verify(s, sizeBytes); err != nil {
		return -1, err
	}
	s.compactedTo.Store(known.compactedTo)
	return known.end, nil
}

// checkEnd reads the batches after the last index entry: the index must lead to
// a batch, and the last one must end where the checkpoint says.
func (r *recovery) checkEnd(s *segment, index *sparseIndex, end int64) error {
	from := index.position(r.end)
	w := newWalker(s, from, end)
	next := int64(-1)
	for {
		b, position, err := w.next()
		if errors.Is(err, io.EOF) && next == r.end {
			return nil
		}
		if err == nil {
			err = b.Validate()
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, recordbatch.ErrCorrupt) {
			return err // the file cannot be read at all
		}
		if err != nil {
			return &DamageError{Path: s.path(), Position: position, Offset: max(next, s.base), Reason: err}
		}
		next = b.NextOffset()
	}
}

// accept checks a batch and takes it into the state.
func (r *recovery) accept(s *segment, b recordbatch.Batch) error {
	if !s.follows(b, r.end) {
		return fmt.Errorf("%w: the batch says offset %d", recordbatch.ErrCorrupt, b.BaseOffset())
	}
	// The leader epoch is outside the CRC, as the offset is.
	if e, least := b.LeaderEpoch(), r.state.leaderEpoch(); e < least || e > r.cfg.LeaderEpoch {
		return fmt.Errorf("%w: leader epoch %d, want %d to %d", recordbatch.ErrCorrupt, e, least, r.cfg.LeaderEpoch)
	}
	if err := b.Validate(); err != nil {
		return err
	}
	return r.state.apply(b)
}

// settle makes what is kept durable before anybody sees it, unless the page
// cache is known to be so.
func (r *recovery) settle() error {
	if r.end < r.mark {
		return &DamageError{
			Path: r.segments[len(r.segments)-1].path(), Position: r.segments[len(r.segments)-1].size.Load(), Offset: r.end,
			Reason: fmt.Errorf("the log ends at offset %d, and was durable up to %d", r.end, r.mark),
		}
	}
	if r.cfg.LogStart > r.end {
		return r.missing(r.end, fmt.Sprintf("the log ends at offset %d, and is said to start at %d", r.end, r.cfg.LogStart))
	}
	made, err := r.makeMark()
	if err != nil {
		return err
	}
	if r.cfg.trusted() && !r.changed && !r.created && !made {
		return nil
	}
	for i, s := range r.segments[r.from:] {
		last := r.from+i == len(r.segments)-1
		if err := r.settleSegment(s, last); err != nil {
			return err
		}
	}
	return r.dir.sync()
}

func (r *recovery) settleSegment(s *segment, last bool) error {
	if r.cfg.SuspectDisk {
		return r.rewrite(s, s.size.Load(), last)
	}
	if err := s.open(last); err != nil {
		return err
	}
	if err := s.file.SyncData(); err != nil {
		return fmt.Errorf("commitlog: %s: %w", s.path(), err)
	}
	return nil
}

// worthSaving is how much has to have been read, in bytes, for a checkpoint to be
// written at once, so that a start after a crash ends soon where there are many logs.
const worthSaving = 1 << 20

// finish makes the Log.
func (r *recovery) finish() (*Log, error) {
	l := &Log{cfg: r.cfg, dir: r.dir, log: r.cfg.Logger, state: r.state}
	l.damage.errs = r.notes.errs
	l.SetSegmentLimits(r.cfg.SegmentBytes, r.cfg.SegmentAge)
	l.segments.Store(&r.segments)
	l.start.Store(r.cfg.LogStart)
	l.end.Store(r.end)
	l.syncedEnd.Store(r.end)
	l.state.aborted.dropBelow(r.cfg.LogStart)
	l.firstUndecided.Store(l.state.txns.firstUndecided())
	last := r.segments[len(r.segments)-1]
	if err := last.findFirstTimestamp(); err != nil {
		return nil, err
	}
	last.giveBack()
	l.writeMark(r.end)
	l.closeMark() // until a sync
	l.saved, l.firm = r.saved, -1
	l.checkpoints = r.file
	if r.from == len(r.segments)-1 {
		l.savedBytes = r.fromByte
	}
	// One that does not know the last segment may not outlive those it knows.
	rolled := r.from < len(r.segments)-1
	if r.torn || r.changed && (r.swap != nil || r.read >= worthSaving) || rolled {
		if err := l.saveCheckpoint(); err != nil {
			r.log.Warn("checkpoint was not written; the next start reads more", "dir", r.dir.path, "error", err)
			l.swapping = r.swap != nil
		} else if r.swap != nil {
			if err := l.dir.forgetSwap(); err != nil {
				return nil, err
			}
		}
	}
	for _, s := range r.segments {
		s.cold.Store(s.size.Load())
		s.foreign.Store(s.size.Load())
		s.noted = s.size.Load()
	}
	for _, s := range r.segments[:len(r.segments)-1] {
		s.unloadIndex()
	}
	if err := r.removeDeleted(l); err != nil {
		r.log.Warn("deleted segments were not removed; the next start tries again", "dir", r.dir.path, "error", err)
	}
	return l, nil
}

// removeDeleted does what a DeleteTo did not.
func (r *recovery) removeDeleted(l *Log) error {
	l.appends.Lock()
	defer l.appends.Unlock()
	if len(r.deleted) > 0 {
		if err := l.knowUpTo(r.segments[0].base); err != nil {
			return err
		}
	}
	var errs []error
	for _, base := range r.deleted {
		errs = append(errs, r.dir.removeSegment(base))
	}
	return errors.Join(append(errs, l.removeDeleted())...)
}
