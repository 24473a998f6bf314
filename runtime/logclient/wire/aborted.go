package wire

import "github.com/levada/levada/internal/recordbatch"

// AbortedTxn is an aborted transaction, as a fetch tells it: it begins at
// FirstOffset and ends with its producer's next marker.
type AbortedTxn struct {
	ProducerID, FirstOffset int64
}

// Aborted follows the aborted transactions while the batches of one fetch are
// walked in order: it opens one where its first offset is reached and closes it
// at its marker.
type Aborted struct {
	list []AbortedTxn   // by first offset
	open map[int64]bool // producer ids
}

// NewAborted begins with the transactions of a fetch, by first offset.
func NewAborted(list []AbortedTxn) Aborted { return Aborted{list: list} }

// Hides tells whether a batch is to be hidden from who reads committed records:
// a marker, or of an aborted transaction. Every batch is to be shown to it, those
// before the position too.
func (a *Aborted) Hides(b recordbatch.Batch) bool {
	for len(a.list) > 0 && a.list[0].FirstOffset <= b.LastOffset() {
		if a.open == nil {
			a.open = map[int64]bool{}
		}
		a.open[a.list[0].ProducerID] = true
		a.list = a.list[1:]
	}
	if b.IsControl() {
		delete(a.open, b.ProducerID())
		return true
	}
	return b.IsTransactional() && a.open[b.ProducerID()]
}
