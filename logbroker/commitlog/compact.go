package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"runtime/debug"
	"slices"
	"sort"
	"time"

	"github.com/levada/levada/internal/recordbatch"
)

// Compaction says when and what Compact removes. The rules are Kafka's.
type Compaction struct {
	// MinDirtyRatio is the share of the log, 0 to 1, that must not have been
	// compacted before it is worth it.
	MinDirtyRatio float64
	// MinLag keeps records for at least so long. MaxLag compacts whatever the
	// share, once the oldest record not seen is older; 0: never.
	MinLag, MaxLag time.Duration
	// DeleteRetention is how long tombstones and the markers of transactions
	// stay after they were first seen.
	DeleteRetention time.Duration
}

// CompactStats says what a Compact did. The zero value: nothing was worth it.
type CompactStats struct {
	To                      int64 // compacted below this offset
	Records                 int64 // removed
	BytesBefore, BytesAfter int64 // of the segments looked at
}

// Compactor is the memory of compaction, for one log at a time.
type Compactor struct {
	memory int64
	keys   *keyMap // nil until there is something to do
	filter recordbatch.Filter
	reader recordbatch.Reader
	buf    []byte
	// Stop, if given, is asked after each batch; when it says yes Compact returns
	// ErrClosed, and the log is as it was.
	Stop func() bool
}

// NewCompactor makes a Compactor whose key map has at most about so many bytes, and no
// more than 2 GiB: 24 a key, rounded down to a power of two. A log with more keys is
// compacted in several rounds.
func NewCompactor(memoryBytes int64) *Compactor {
	return &Compactor{memory: min(memoryBytes, math.MaxInt32)}
}

// ErrCompactorMemory says that not even one batch of keys has room.
var ErrCompactorMemory = errors.New("commitlog: the keys of one batch do not fit into the memory of compaction; give it more")

// Compact keeps of each key the newest record, in the sealed segments below
// what is decided. Offsets do not change; readers go on meanwhile. A crash at
// any moment leaves the old segments or the new ones. Errors: ErrFailed,
// ErrClosed, ErrCompactorMemory, ErrPanic, a *DamageError, or that of the file
// system, after which the log is as it was.
func (l *Log) Compact(c *Compactor, cfg Compaction) (CompactStats, error) {
	if err := l.settleSwap(); err != nil {
		return CompactStats{}, err
	}
	run := compactRun{log: l, Compactor: c, cfg: cfg, nowMs: l.cfg.Now().UnixMilli(), seen: map[int64]bool{}, ended: map[int64]bool{}}
	if !run.plan() {
		return CompactStats{}, nil
	}
	run.learn()
	// An end of a transaction, or a newer batch of a producer, that a power loss
	// takes must not have cost what came before it.
	if err := l.Sync(); err != nil {
		return CompactStats{}, err
	}
	// So it is with the checkpoint: an older one may end inside what is replaced.
	l.appends.Lock()
	err := l.makeFirm()
	l.appends.Unlock()
	if err != nil {
		return CompactStats{}, err
	}
	if err := run.mapKeys(); err != nil {
		return CompactStats{}, err
	}
	for _, group := range run.groups() {
		if err := l.usable(); err != nil {
			return run.stats, err
		}
		if err := run.rewrite(group); err != nil {
			return run.stats, err
		}
	}
	run.stats.To = run.to
	return run.stats, nil
}

// compactRun is one Compact.
type compactRun struct {
	*Compactor
	log   *Log
	cfg   Compaction
	nowMs int64

	segments []*segment // to be rewritten
	from, to int64      // what was not compacted before, and is looked at now

	aborted map[int64][]AbortedTxn // by producer id
	last    map[int64]lastBatch    // of each producer
	seen    map[int64]bool         // producers with data since their last marker
	ended   map[int64]bool         // offsets of the markers that go
	stats   CompactStats
}

// lastBatch is the last offset of a producer's last batch, -1 if it has none under
// its epoch.
type lastBatch struct {
	offset int64
	epoch  int16
}

// carries tells whether a batch carries the sequence of its producer or, where it
// has none, the epoch.
func (p lastBatch) carries(b recordbatch.Batch) bool {
	return b.LastOffset() == p.offset || p.offset < 0 && b.IsControl() && b.ProducerEpoch() == p.epoch
}

// plan finds what can be compacted and tells whether it is worth it.
func (r *compactRun) plan() bool {
	l := r.log
	l.appends.Lock()
	segs := *l.segments.Load()
	saved := l.saved
	r.to = min(segs[len(segs)-1].base, saved, l.LastStable())
	l.appends.Unlock()
	segs = segs[:len(segs)-1]
	r.from = -1
	var dirty, total int64
	for _, s := range segs {
		// A checkpoint that ends inside a segment says where in its file to read
		// on, so the file has to stay until there is a later one.
		if s.base >= r.to || s.end.Load() > saved || s.compactedTo.Load() < s.end.Load() && r.cfg.MinLag > 0 && !s.isBefore(r.nowMs-r.cfg.MinLag.Milliseconds()+1) {
			r.to = min(r.to, s.base)
			break
		}
		r.segments = append(r.segments, s)
		total += s.size.Load()
		if to := s.compactedTo.Load(); to < s.end.Load() {
			if r.from < 0 {
				r.from = max(to, s.base)
			}
			dirty += s.size.Load()
		}
	}
	if r.from < 0 || r.from >= r.to || total == 0 {
		return false
	}
	return float64(dirty) >= r.cfg.MinDirtyRatio*float64(total) || r.overdue()
}

// overdue tells whether records not seen are older than MaxLag, by the first of
// each segment: one whose producer's clock is ahead hides no other.
func (r *compactRun) overdue() bool {
	return r.cfg.MaxLag > 0 && slices.ContainsFunc(r.segments, func(s *segment) bool {
		return s.end.Load() > r.from && r.begunBefore(s, r.nowMs-r.cfg.MaxLag.Milliseconds())
	})
}

// begunBefore tells whether the first batch of a segment that was not seen and has
// a time is so old. A segment that was deleted meanwhile is not.
func (r *compactRun) begunBefore(s *segment, ms int64) bool {
	old := false
	err := r.eachBatch(s, func(b recordbatch.Batch) error {
		if b.NextOffset() <= r.from || b.Count() == 0 || b.MaxTimestamp() < 0 {
			return nil
		}
		old = b.MaxTimestamp() <= ms
		return io.EOF
	})
	return old && errors.Is(err, io.EOF)
}

// learn takes what the log knows of transactions and producers.
func (r *compactRun) learn() {
	l := r.log
	r.aborted, r.last = map[int64][]AbortedTxn{}, map[int64]lastBatch{}
	for _, t := range l.Aborted(0, r.to) {
		r.aborted[t.ProducerID] = append(r.aborted[t.ProducerID], t)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for id, p := range l.state.producers {
		last := lastBatch{-1, p.epoch}
		if p.known > 0 {
			m := p.batches[p.known-1]
			last.offset = m.baseOffset + int64(m.lastDelta)
		}
		r.last[id] = last
	}
}

// isAborted tells whether a batch of data belongs to an aborted transaction.
func (r *compactRun) isAborted(b recordbatch.Batch) bool {
	if !b.IsTransactional() || b.IsControl() {
		return false
	}
	// Those of one producer come one after another.
	txns := r.aborted[b.ProducerID()]
	i := sort.Search(len(txns), func(i int) bool { return txns[i].LastOffset >= b.BaseOffset() })
	return i < len(txns) && txns[i].FirstOffset <= b.BaseOffset()
}

// eachBatch calls fn with the batches of a segment. A panic on the way, which some
// record that nobody thought of may cause, is ErrPanic: no lock is held that is not
// released, and nothing has changed but the memory of compaction, which is made anew,
// and a file that is not in its place. Where segments are put in their places a panic
// ends the process: half of that must not go on.
func (r *compactRun) eachBatch(s *segment, fn func(recordbatch.Batch) error) (err error) {
	defer r.log.rest(s)
	defer func() {
		if fault := recover(); fault != nil {
			*r.Compactor = Compactor{memory: r.memory, Stop: r.Stop}
			err = fmt.Errorf("%w: %s: %v\n%s", ErrPanic, s.path(), fault, debug.Stack())
		}
	}()
	w := newWalker(s, 0, s.size.Load())
	expected := s.base
	for {
		b, position, err := w.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && !s.follows(b, expected) {
			err = fmt.Errorf("%w: offset %d", recordbatch.ErrCorrupt, b.BaseOffset())
		}
		if err == nil {
			err = b.Validate()
		}
		if errors.Is(err, recordbatch.ErrCorrupt) {
			return &DamageError{Path: s.path(), Position: position, Offset: expected, Reason: err}
		}
		if err != nil {
			return err
		}
		if r.Stop != nil && r.Stop() {
			return ErrClosed
		}
		at := expected
		expected = b.NextOffset()
		if err := fn(b); errors.Is(err, recordbatch.ErrCorrupt) { // records as their producer sent them
			return &DamageError{Path: s.path(), Position: position, Offset: at, Reason: err}
		} else if err != nil {
			return err
		}
	}
}

// mapKeys finds the newest offset of each key in what was not compacted
// before, as far as the memory goes.
func (r *compactRun) mapKeys() error {
	if slots := slotsFor(r.to-r.from, r.memory); r.keys == nil || len(r.keys.slots) < slots {
		r.keys = newKeyMap(slots)
	}
	r.keys.reset()
	full := errors.New("full")
	for _, s := range r.segments {
		if s.end.Load() <= r.from {
			continue
		}
		err := r.eachBatch(s, func(b recordbatch.Batch) error {
			if b.NextOffset() <= r.from || b.BaseOffset() >= r.to || b.IsControl() || r.isAborted(b) {
				return nil
			}
			fits, err := r.mapBatch(b)
			if err == nil && !fits {
				// Its keys that are in the map are right: their records stay.
				r.to, err = b.BaseOffset(), full
			}
			return err
		})
		if errors.Is(err, full) {
			break
		}
		if err != nil {
			return err
		}
	}
	if r.to <= r.from {
		return ErrCompactorMemory
	}
	r.segments = slices.DeleteFunc(r.segments, func(s *segment) bool { return s.base >= r.to })
	return nil
}

func (r *compactRun) mapBatch(b recordbatch.Batch) (fits bool, err error) {
	if err := r.reader.Reset(b); err != nil {
		return false, err
	}
	var rec recordbatch.Record
	for {
		ok, err := r.reader.Next(&rec)
		if !ok || err != nil {
			return true, err
		}
		if rec.Key != nil && rec.Offset < r.to && !r.keys.put(rec.Key, rec.Offset) {
			return false, nil
		}
	}
}

// groups cuts the segments into such that make one segment each.
func (r *compactRun) groups() [][]*segment {
	var out [][]*segment
	var size int64
	for _, s := range r.segments {
		n := len(out)
		if n == 0 || size+s.size.Load() > r.log.limits.Load().sizeBytes || s.end.Load()-out[n-1][0].base > math.MaxInt32 {
			out, size = append(out, nil), 0
			n++
		}
		out[n-1] = append(out[n-1], s)
		size += s.size.Load()
	}
	return out
}

// keeps tells whether a record stays. horizon is when tombstones of its batch
// may go, if that was set.
func (r *compactRun) keeps(rec *recordbatch.Record, horizonMs int64, set bool) bool {
	if rec.Offset >= r.to {
		return true
	}
	if rec.Key == nil || rec.Offset < r.keys.get(rec.Key) {
		return false
	}
	return rec.Value != nil || !set || r.nowMs < horizonMs
}

// filterBatch appends to dst what stays of a batch.
func (r *compactRun) filterBatch(dst []byte, b recordbatch.Batch) (out []byte, err error) {
	if b.BaseOffset() >= r.to {
		return append(dst, b...), nil
	}
	horizon, set := b.DeleteHorizon()
	set = set && b.Count() > 0
	last, known := r.last[b.ProducerID()]
	lastOfProducer := known && last.carries(b)
	discard, empty := false, false
	if b.IsControl() {
		empty = !r.seen[b.ProducerID()] // no data of its transaction is left
		delete(r.seen, b.ProducerID())
		discard = empty && set && horizon <= r.nowMs && !lastOfProducer
		if discard {
			r.ended[b.LastOffset()] = true
		}
	} else {
		if b.IsTransactional() {
			r.seen[b.ProducerID()] = true
		}
		discard = r.isAborted(b)
	}
	tombstones := false
	keep := func(rec *recordbatch.Record) bool {
		stays := !discard && (b.IsControl() || r.keeps(rec, horizon, set))
		tombstones = tombstones || stays && rec.Value == nil
		return stays
	}
	before := len(dst)
	out, kept, err := r.filter.Append(dst, b, recordbatch.NoHorizon, keep)
	if err == nil && kept > 0 && !set && (empty || tombstones && b.BaseOffset() < r.to) {
		out, kept, err = r.filter.Append(out[:before], b, r.nowMs+r.cfg.DeleteRetention.Milliseconds(), keep)
	}
	if err != nil {
		return dst, err
	}
	r.stats.Records += int64(b.Count()) - int64(kept)
	if kept == 0 && !lastOfProducer {
		out = out[:before]
	}
	return out, nil
}

// forgetAborted drops the transactions whose markers go: nothing is left of them.
func (r *compactRun) forgetAborted() {
	if len(r.ended) == 0 {
		return
	}
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.aborted.drop(r.ended)
	clear(r.ended)
}
