package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/recordbatch"
)

// Fault is something that Inspect found.
type Fault struct {
	Path     string // the file
	Position int64  // where in it, in bytes; -1 for the whole
	Offset   int64  // of the records there; -1 if that cannot be told
	// Derived tells that it is made again from the log by itself; otherwise records
	// are damaged.
	Derived bool
	What    string
	Mend    string
}

// String is the fault in one line.
func (f Fault) String() string {
	at := ""
	if f.Position >= 0 {
		at += fmt.Sprintf(" at byte %d", f.Position)
	}
	if f.Offset >= 0 {
		at += fmt.Sprintf(", offset %d", f.Offset)
	}
	return fmt.Sprintf("%s%s: %s; %s", f.Path, at, f.What, f.Mend)
}

// Inspector looks at the files of a log and changes nothing. It takes no lock, so
// that a broker may be writing; what it appends meanwhile is not looked at.
type Inspector struct {
	FS  vfs.FS
	Dir string
	// MaxEpoch is the highest leader epoch that any batch can have; 0 if that is not
	// known.
	MaxEpoch int32
	// LogStart is the first offset that was not deleted; 0 if that is not known. Segments
	// below it are not looked at: a power loss may have brought back some that were removed.
	LogStart int64
	// Batch is called with every batch and where it is; nil calls nothing. The
	// batch is valid during the call.
	Batch func(path string, position int64, b recordbatch.Batch) error
	// Fault is called with everything that is wrong.
	Fault func(Fault)
}

// IsSegment tells whether a path has the name of a segment.
func IsSegment(path string) bool {
	digits, ok := strings.CutSuffix(filepath.Base(path), logSuffix)
	_, err := strconv.ParseUint(digits, 10, 63)
	return ok && err == nil && len(digits) == 20
}

// Summary is what Inspect has seen.
type Summary struct {
	Segments, Sealed int
	Batches, Records int64
	Bytes            int64
	Start, End       int64 // offsets; End is the one after the last that is valid
}

const (
	mendRecords = "restore the file from a backup; until then the broker gives nobody these records, and none of the partition where they are its last"
	mendDerived = "it is made again from the log at the next start"
)

// inspection is one Inspect under way.
type inspection struct {
	Inspector
	dir      *directory
	sum      Summary
	expected int64 // offset of the next batch, after the last that is valid; -1: any
	// unsure is how far beyond expected the next batch may begin, as those before
	// it are damaged.
	unsure int64
	whole  int64 // end of the last batch that is valid
	epoch  int32 // leader epoch of the last
	epochs []foundEpoch
	synced int64 // what the mark says was durable
	// compacted are the segments that the checkpoint knows to be so: each has a seal.
	compacted map[int64]bool
	file      string
	base      int64
	// What is found is held until it is known to be there still, and was found twice.
	holding bool
	held    []Fault
	quiet   bool // Batch has been called for what is looked at again
}

// foundEpoch is where a leader epoch was first seen. Where what was there before it was
// compacted away it began anywhere after the batch before.
type foundEpoch struct {
	epochStart
	after    int64 // the end of the batch before
	path     string
	position int64
}

// Inspect looks at all files of the log. An error means that it could not look; what
// it finds goes to Fault.
func (i Inspector) Inspect() (Summary, error) {
	in := &inspection{Inspector: i, dir: &directory{fs: i.FS, path: i.Dir}, expected: -1, epoch: -1, compacted: map[int64]bool{}}
	in.mark() // first: all that is listed after it reaches as far
	in.deleted()
	bases, err := in.list()
	if err != nil {
		return Summary{}, err
	}
	if err := in.swap(); err != nil {
		return Summary{}, err
	}
	start, err := in.segments(bases)
	if err != nil {
		return in.sum, err
	}
	if in.sum.Segments > 0 {
		in.sum.Start, in.sum.End = start, max(in.expected, 0)
	}
	if err := in.checkpoint(); err != nil {
		return in.sum, err
	}
	in.missing()
	// Where the last batches are damaged, that has been said.
	if in.synced > in.sum.End && in.unsure == 0 {
		in.report(Fault{Path: in.dir.join(markFile), Position: -1, Offset: in.sum.End, What: fmt.Sprintf("records up to offset %d were on disk, and the log ends before", in.synced), Mend: mendRecords})
	}
	return in.sum, nil
}

func (in *inspection) report(f Fault) {
	switch {
	case in.holding:
		in.held = append(in.held, f)
	case in.Fault != nil:
		in.Fault(f)
	}
}

// derived reports a fault of a file that is made again.
func (in *inspection) derived(name, what string) {
	in.report(Fault{Path: in.dir.join(name), Position: -1, Offset: -1, Derived: true, What: what, Mend: mendDerived})
}

func (in *inspection) damage(position int64, format string, args ...any) {
	in.report(Fault{Path: in.file, Position: position, Offset: in.expected, What: fmt.Sprintf(format, args...), Mend: mendRecords})
}

// deleted learns from the checkpoint what was deleted at least, for it names all segments
// that there were, and what was durable.
func (in *inspection) deleted() {
	p, err := in.dir.readFile(checkpointFile, maxCheckpoint)
	if err != nil {
		return // lastCheckpoint tells
	}
	if c, _, _, err := lastCheckpoint(p); err == nil {
		in.LogStart, in.synced = max(in.LogStart, c.segments[0].base), max(in.synced, c.end)
		for _, s := range c.segments {
			if s.compactedTo >= 0 {
				in.compacted[s.base] = true
			}
		}
	}
}

// list gives the bases of the segments that were not deleted.
func (in *inspection) list() ([]int64, error) {
	have, err := in.dir.list()
	bases := have.segments
	for len(bases) > 1 && bases[1] <= in.LogStart {
		bases = bases[1:]
	}
	return bases, err
}

// mark reads what was durable at least.
func (in *inspection) mark() {
	if _, err := in.FS.Stat(in.dir.join(markFile)); isNotExist(err) {
		return
	}
	var whole bool
	if in.synced, whole = readWholeMark(in.dir); !whole {
		in.derived(markFile, "its sum is not that of its content")
	}
}

// swap looks at a compaction that was decided and not finished.
func (in *inspection) swap() error {
	_, err := in.dir.readSwap()
	if err != nil {
		in.report(Fault{Path: in.dir.join(swapFile), Position: -1, Offset: -1, What: err.Error(), Mend: mendRecords})
	}
	return in.swapping()
}

// swapping is an error while files are being replaced by a compaction: they do not fit
// each other.
func (in *inspection) swapping() error {
	if s, _ := in.dir.readSwap(); s == nil {
		return nil
	}
	return fmt.Errorf("commitlog: %s: %w: look again, or if no broker runs when one has started", in.dir.join(swapFile), ErrSwapping)
}

// segments walks over the segments, and returns where the first begins. Retention may
// remove the oldest meanwhile: what was found in one that is gone says nothing, and the
// rest is listed again. What was found in one that is there may be of two files, as a
// compaction replaced one, or the next segment was begun: it is looked at again.
func (in *inspection) segments(bases []int64) (start int64, err error) {
	if len(bases) > 0 {
		start = bases[0]
	}
	twice := int64(-1) // what is looked at again
	for len(bases) > 0 {
		base, next := bases[0], int64(math.MaxInt64)
		if bases = bases[1:]; len(bases) > 0 {
			next = bases[0]
		}
		before := *in
		in.holding, in.held = true, nil
		err := in.segment(base, next)
		in.holding, in.quiet = false, false
		if err != nil && !isNotExist(err) {
			in.release()
			return start, err
		}
		if err == nil && len(in.held) == 0 {
			continue
		}
		again, listErr := in.list()
		if listErr != nil {
			return start, listErr
		}
		if slices.Contains(again, base) {
			if twice != base {
				if err := in.swapping(); err != nil {
					return start, err
				}
				*in, twice = before, base
				in.quiet = err == nil
				bases = slices.DeleteFunc(again, func(b int64) bool { return b < base })
				continue
			}
			in.release()
			if err != nil {
				return start, err
			}
			continue
		}
		if len(again) > 0 {
			start = max(start, again[0])
		}
		bases = slices.DeleteFunc(again, func(b int64) bool { return b <= base })
		if len(bases) > 0 {
			in.expected, in.unsure = -1, 0
		}
	}
	return start, nil
}

// release reports what was found in a segment that is still there.
func (in *inspection) release() {
	for _, f := range in.held {
		in.report(f)
	}
	in.held = nil
}

// segment walks over the batches of one segment. next is the offset at which the one
// after it begins, the largest for the last.
func (in *inspection) segment(base, next int64) error {
	name := logName(base)
	in.file, in.base = in.dir.join(name), base
	f, err := in.FS.Open(in.file)
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	size := info.Size()
	in.sum.Segments++
	in.sum.Bytes += size
	sealed, gaps, err := in.sealOf(f, base, size)
	if err != nil {
		return err
	}
	switch {
	case in.expected < 0:
		in.expected = base
	case base != in.expected && !(gaps && base > in.expected) && !(base > in.expected && in.unsure > 0):
		in.damage(0, "the segment begins at offset %d, and the one before it ends at %d", base, in.expected)
		in.expected = base
	}
	in.expected, in.unsure = max(in.expected, base), 0
	if err := in.batches(f, size, sealed, gaps, next); err != nil {
		return err
	}
	in.index(base, size)
	return nil
}

// sealOf compares a segment with its seal. gaps tells that it was compacted.
func (in *inspection) sealOf(f io.ReaderAt, base, size int64) (sealed *seal, gaps bool, err error) {
	s, ok, err := in.dir.readSeal(base)
	if err != nil {
		in.report(Fault{Path: in.dir.join(sealName(base)), Position: -1, Offset: base, What: err.Error(), Mend: mendRecords})
		return nil, true, nil
	}
	if !ok {
		return nil, in.compacted[base], nil // missing tells
	}
	in.sum.Sealed++
	if s.more > 0 {
		in.derived(sealName(base), fmt.Sprintf("%d bytes follow its end", s.more))
	}
	sum, err := fileSum(f, min(size, s.sizeBytes))
	if err != nil {
		return nil, false, err
	}
	if size > s.sizeBytes {
		what := fmt.Sprintf("%d bytes follow its end at byte %d, which its seal tells", size-s.sizeBytes, s.sizeBytes)
		in.report(Fault{Path: in.file, Position: s.sizeBytes, Offset: -1, Derived: true, What: what, Mend: "nobody reads them"})
	}
	if size < s.sizeBytes || sum != s.sum {
		in.damage(-1, "%d bytes with the sum %08x, and its seal says %d with %08x", size, sum, s.sizeBytes, s.sum)
	}
	return &s, s.compactedTo >= 0, nil
}

// batches walks over a segment. A batch that is damaged inside is passed over; one
// whose length cannot be is the end of what can be read.
func (in *inspection) batches(f io.ReaderAt, size int64, sealed *seal, gaps bool, next int64) error {
	w := newWalker(f, 0, size)
	for {
		b, position, err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, recordbatch.ErrCorrupt) && !errors.Is(err, recordbatch.ErrShort) {
			return fmt.Errorf("commitlog: %s: %w", in.file, err)
		}
		if err != nil {
			in.tail(f, position, size, next == math.MaxInt64, err)
			break
		}
		if next == math.MaxInt64 && in.expected >= in.synced && in.unsure == 0 {
			if err := in.torn(b, gaps); err != nil {
				in.tail(f, position, size, true, err)
				break
			}
		}
		in.take(b, position, gaps, next)
		if in.Batch != nil && !in.quiet {
			if err := in.Batch(in.file, position, b); err != nil {
				return err
			}
		}
	}
	if sealed != nil {
		if in.expected > sealed.end {
			in.damage(-1, "it holds offset %d, and its seal ends it at %d", in.expected-1, sealed.end)
		}
		in.expected, in.unsure = max(in.expected, sealed.end), 0
	}
	return nil
}

// torn tells why a start would take a batch for what a power loss left of one.
func (in *inspection) torn(b recordbatch.Batch, gaps bool) error {
	if base := b.BaseOffset(); base < in.expected || base > in.expected && !gaps || b.LeaderEpoch() < in.epoch || in.tooHigh(b.LeaderEpoch()) {
		return recordbatch.ErrCorrupt
	}
	return b.Validate()
}

// take counts a batch. What a damaged one says of itself is not believed: neither how
// many records it has nor where it ends.
func (in *inspection) take(b recordbatch.Batch, position int64, gaps bool, next int64) {
	in.sum.Batches++
	if !in.check(b, position, gaps, next) {
		in.unsure += math.MaxInt32 + 1
		return
	}
	in.sum.Records += int64(b.Count())
	if epoch := b.LeaderEpoch(); (epoch > in.epoch || in.sum.Batches == 1) && !in.tooHigh(epoch) {
		// Where batches before it are damaged, it may have begun there.
		if in.unsure == 0 {
			in.epochs = append(in.epochs, foundEpoch{epochStart{epoch, b.BaseOffset()}, in.whole, in.file, position})
		}
		in.epoch = max(in.epoch, epoch)
	}
	in.expected, in.unsure = b.LastOffset()+1, 0
	in.whole = in.expected
}

func (in *inspection) tooHigh(epoch int32) bool { return in.MaxEpoch > 0 && epoch > in.MaxEpoch }

// check holds a batch against the log around it, and tells whether its records and its
// offsets can be believed. next is where the next segment begins.
func (in *inspection) check(b recordbatch.Batch, position int64, gaps bool, next int64) bool {
	whole := true
	if err := b.Validate(); err != nil {
		in.damage(position, "%v", err)
		whole = false
	}
	base, epoch := b.BaseOffset(), b.LeaderEpoch()
	// No checksum covers these two.
	switch ahead := base - in.expected; {
	case ahead < 0, ahead > in.unsure && !gaps, base >= next, b.LastOffset() >= next, b.LastOffset() < base:
		in.damage(position, "the batch begins at offset %d, and %d is due", base, in.expected)
		whole = false
	case epoch < in.epoch:
		in.damage(position, "its leader epoch is %d, and one before it has %d", epoch, in.epoch)
	case in.tooHigh(epoch):
		in.damage(position, "its leader epoch is %d, and %d is that of the last start", epoch, in.MaxEpoch)
	}
	return whole
}

// tail looks at what follows the last batch that can be read. At the end of the last
// segment it may be an append that is under way, or was when the power went.
func (in *inspection) tail(f io.ReaderAt, position, size int64, last bool, why error) {
	zeros, err := onlyZeros(f, position, size)
	switch {
	case err == nil && zeros && !last:
		return // an append that failed left them
	case last && in.expected >= in.synced:
		in.report(Fault{
			Path: in.file, Position: position, Offset: in.expected, Derived: true,
			What: fmt.Sprintf("%d bytes that are no whole batch, after all that was on disk", size-position), Mend: "they are being written, or are cut off at the next start",
		})
	default:
		in.damage(position, "no batch can be read here: %v; what follows in this segment is not looked at", why)
	}
}

func onlyZeros(f io.ReaderAt, from, to int64) (bool, error) {
	buf := make([]byte, 64<<10)
	for from < to {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), to-from)], from)
		if slices.ContainsFunc(buf[:n], func(c byte) bool { return c != 0 }) {
			return false, nil
		}
		if err != nil && !errors.Is(err, io.EOF) || n == 0 {
			return false, err
		}
		from += int64(n)
	}
	return true, nil
}

// index reads the indexes of a segment, where there are any.
func (in *inspection) index(base, size int64) {
	offsets, err1 := in.dir.readFile(indexName(base), size+1)
	times, err2 := in.dir.readFile(timeIndexName(base), 2*size+1)
	if isNotExist(err1) || isNotExist(err2) {
		return // it is written when the segment is full
	}
	if err := errors.Join(err1, err2); err != nil {
		in.derived(indexName(base), err.Error())
		return
	}
	if err := newIndex(base, 1).decode(offsets, times, size, max(in.expected, base+1)); err != nil {
		in.derived(indexName(base), err.Error())
	}
}

// checkpoint looks at the checkpoint, and again where something is wrong: a broker may
// write another meanwhile, or replace the files that it tells of.
func (in *inspection) checkpoint() error {
	for range 2 {
		in.holding, in.held = true, nil
		in.lastCheckpoint()
		in.holding = false
		if len(in.held) == 0 {
			return nil
		}
		if err := in.swapping(); err != nil {
			return err
		}
	}
	in.release()
	return nil
}

// lastCheckpoint compares the checkpoint with the segments that are there after it was
// read: a broker may have begun some, and removed others, since they were looked at.
func (in *inspection) lastCheckpoint() {
	p, err := in.dir.readFile(checkpointFile, maxCheckpoint)
	if isNotExist(err) {
		return
	}
	var c checkpoint
	var snapshot []byte
	torn := false
	if err == nil {
		c, snapshot, torn, err = lastCheckpoint(p)
	}
	if err != nil || torn {
		in.derived(checkpointFile, errors.Join(errCheckpoint, err).Error())
	}
	if err != nil {
		return
	}
	in.snapshot(snapshot, c.end)
	segments, err := in.list()
	if err != nil {
		return // it was there a moment ago
	}
	for i, s := range c.segments {
		if !slices.Contains(segments, s.base) {
			if len(segments) == 0 || s.base > segments[0] {
				in.report(Fault{Path: in.dir.join(logName(s.base)), Position: -1, Offset: s.base, What: "the checkpoint has this segment, and it is not there", Mend: mendRecords})
			}
			continue
		}
		info, err := in.FS.Stat(in.dir.join(logName(s.base)))
		if err == nil && info.Size() < s.sizeBytes {
			in.report(Fault{
				Path: in.dir.join(logName(s.base)), Position: info.Size(), Offset: -1,
				What: fmt.Sprintf("%d bytes, and the checkpoint says %d", info.Size(), s.sizeBytes), Mend: mendRecords,
			})
		}
		in.indexSums(s, i == len(c.segments)-1)
	}
}

// indexSums compares the indexes of a segment with the sums in the checkpoint. Those of
// the last may have grown since.
func (in *inspection) indexSums(s checkpointSegment, grows bool) {
	if s.sums == (indexSums{}) {
		return
	}
	offsets, err1 := in.dir.readFile(indexName(s.base), maxCheckpoint)
	times, err2 := in.dir.readFile(timeIndexName(s.base), maxCheckpoint)
	whole := sumsOf(offsets, times) == s.sums
	if grows && !whole {
		_, ok1 := summed(offsets, offsetEntrySize, s.sums.offsets)
		_, ok2 := summed(times, timeEntrySize, s.sums.times)
		whole = ok1 && ok2
	}
	if err := errors.Join(err1, err2); err != nil || !whole {
		in.derived(indexName(s.base), "the indexes are not those that the checkpoint names")
	}
}

func (in *inspection) snapshot(p []byte, end int64) {
	s, err := decodeSnapshot(p, end, defaultMaxProducers)
	if err != nil {
		in.derived(checkpointFile, err.Error())
		return
	}
	in.compareEpochs(s.epochs, end)
}

// compareEpochs holds the leader epochs of the batches against those that were known
// when a snapshot was written: no checksum of a batch covers its own.
func (in *inspection) compareEpochs(known []epochStart, end int64) {
	for _, e := range in.epochs {
		same := func(k epochStart) bool {
			return k.epoch == e.epoch && (k.start >= e.after && k.start <= e.start || k.start < in.sum.Start)
		}
		if e.start < end && !slices.ContainsFunc(known, same) {
			in.report(Fault{
				Path: e.path, Position: e.position, Offset: e.start,
				What: fmt.Sprintf("the batch has leader epoch %d, which did not begin here", e.epoch), Mend: mendRecords,
			})
		}
	}
}
