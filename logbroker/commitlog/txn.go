package commitlog

import (
	"cmp"
	"math"
	"slices"
	"sort"
)

// OpenTxn is a transaction that has no marker in this log yet.
type OpenTxn struct {
	ProducerID  int64
	Epoch       int16
	FirstOffset int64
	Decided     bool // Decide was called; only the marker is missing
	Commit      bool // the decision, if Decided
}

// AbortedTxn is an aborted transaction. LastOffset is that of its marker, or
// math.MaxInt64 while it is decided without one.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64
}

func (t AbortedTxn) pending() bool { return t.LastOffset == math.MaxInt64 }

// TxnCheck is asked before a transactional batch that is no duplicate is
// appended, under the lock of appends: no other append or marker comes between
// its answer and the append. first tells that the batch begins a transaction in
// this log. An error refuses the append and is returned by it. Nil asks nobody.
type TxnCheck func(first bool) error

type openTxn struct {
	producerID      int64
	epoch           int16
	firstOffset     int64
	decided, commit bool
}

// openTxns are the transactions without a marker, by first offset.
type openTxns struct {
	list []*openTxn
}

func (o *openTxns) begin(t *openTxn) { o.list = append(o.list, t) }

func (o *openTxns) end(t *openTxn) {
	if i := slices.Index(o.list, t); i >= 0 {
		o.list = slices.Delete(o.list, i, i+1)
	}
}

func (o *openTxns) sort() {
	slices.SortFunc(o.list, func(a, b *openTxn) int { return cmp.Compare(a.firstOffset, b.firstOffset) })
}

// firstUndecided is where the oldest undecided transaction begins, or
// math.MaxInt64.
func (o *openTxns) firstUndecided() int64 {
	for _, t := range o.list {
		if !t.decided {
			return t.firstOffset
		}
	}
	return math.MaxInt64
}

// abortedIndex are the aborted transactions by first offset. reach[i] is the
// largest last offset of txns[:i+1], so that a query can skip those that end
// before its range.
type abortedIndex struct {
	txns  []AbortedTxn
	reach []int64
}

// put adds a transaction, or sets the last offset of one that is there.
func (a *abortedIndex) put(t AbortedTxn) {
	i := sort.Search(len(a.txns), func(i int) bool { return a.txns[i].FirstOffset >= t.FirstOffset })
	if i < len(a.txns) && a.txns[i].FirstOffset == t.FirstOffset {
		a.txns[i] = t
	} else {
		a.txns = slices.Insert(a.txns, i, t)
		a.reach = slices.Insert(a.reach, i, 0)
	}
	a.measure(i)
}

// measure computes reach from i on.
func (a *abortedIndex) measure(i int) {
	for ; i < len(a.txns); i++ {
		a.reach[i] = a.txns[i].LastOffset
		if i > 0 {
			a.reach[i] = max(a.reach[i], a.reach[i-1])
		}
	}
}

// overlapping lists the transactions that touch [from, to).
func (a *abortedIndex) overlapping(from, to int64) []AbortedTxn {
	var out []AbortedTxn
	i := sort.Search(len(a.reach), func(i int) bool { return a.reach[i] >= from })
	for ; i < len(a.txns) && a.txns[i].FirstOffset < to; i++ {
		if a.txns[i].LastOffset >= from {
			out = append(out, a.txns[i])
		}
	}
	return out
}

// drop forgets the transactions whose markers are at these offsets.
func (a *abortedIndex) drop(markers map[int64]bool) {
	a.txns = slices.DeleteFunc(a.txns, func(t AbortedTxn) bool { return markers[t.LastOffset] })
	a.reach = a.reach[:len(a.txns)]
	a.measure(0)
}

// dropBelow forgets the transactions that end below start.
func (a *abortedIndex) dropBelow(start int64) {
	a.txns = slices.DeleteFunc(a.txns, func(t AbortedTxn) bool { return t.LastOffset < start })
	a.reach = a.reach[:len(a.txns)]
	a.measure(0)
}

// epochStart is the first offset appended under a leader epoch.
type epochStart struct {
	epoch int32
	start int64
}

// epochEnd finds the largest known epoch up to the one asked for and where it ends; of one
// before all that are known the end is where these begin. An epoch that is not known yet
// has no end: -1, -1. epochs are those that have batches, current is the present one; what
// lies below the start of the log is not known any more.
func epochEnd(epochs []epochStart, current, epoch int32, start, end int64) (int32, int64) {
	if n := len(epochs); n == 0 || epochs[n-1].epoch < current {
		epochs = append(slices.Clip(epochs), epochStart{current, end})
	}
	last := epochs[len(epochs)-1].epoch
	switch {
	case epoch == last:
		return epoch, end
	case epoch == -1 || epoch > last:
		return -1, -1
	}
	next := sort.Search(len(epochs), func(i int) bool { return epochs[i].epoch > epoch })
	from := max(epochs[next].start, start)
	if next == 0 || from == start {
		return epoch, from
	}
	return epochs[next-1].epoch, from
}

// epochAt finds the epoch under which an offset was appended.
func epochAt(epochs []epochStart, current int32, offset int64) int32 {
	i := sort.Search(len(epochs), func(i int) bool { return epochs[i].start > offset })
	switch {
	case i > 0:
		return epochs[i-1].epoch
	case len(epochs) > 0:
		return epochs[0].epoch
	}
	return current
}
