package logbroker

import (
	"sync"

	"github.com/levada/levada/logbroker/commitlog"
)

const (
	// earlySyncBytes is how much may be unsynced before the disk gets it though nobody
	// asked for that. Whoever writes waits for the disk behind a large sync, and hardly
	// behind a small one.
	earlySyncBytes = 2 << 20
	// togetherPieces is how many pieces the disk gets together. While it does, twice as many
	// may wait.
	togetherPieces = 8
	// manyLogs is how many logs there have to be, written alike, for their pieces to be given
	// together. With fewer whoever writes waits longer than if each is given by itself
	// (docs/benchmarks.md).
	manyLogs = 12
)

// outflow gives the disk what nobody waits for, in pieces of earlySyncBytes: that of one of
// few logs as it comes, which is the work of whoever wrote it, those of many by a sync of the
// file system, which is the work of the kernel.
type outflow struct {
	mu     sync.Mutex // guards what follows, and the piece of each partition
	pieces int64      // that there have been
	wait   []*partition
	giving bool // pieces are being given together
}

// give gives the disk a piece of a partition, or sees to it that it gets it with those of
// others. It returns false where that cannot be; a sync says why.
func (o *outflow) give(p *partition) bool {
	kept, begin := o.gather(p)
	if begin {
		p.broker.spawn(func() {
			for all := o.gathered(); all != nil; all = o.gathered() {
				giveAll(p.broker, all)
			}
		})
	}
	return kept || p.log.WriteOut()
}

// gather keeps a piece of a partition for those of others, unless it is not one of many, or
// too many are kept. It tells whether somebody has to begin to give them.
func (o *outflow) gather(p *partition) (kept, begin bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pieces++
	since := o.pieces - p.piece
	p.piece = o.pieces
	if since < manyLogs || len(o.wait) >= 2*togetherPieces {
		return false, false
	}
	o.wait = append(o.wait, p)
	begin = !o.giving && len(o.wait) >= togetherPieces
	o.giving = o.giving || begin
	return true, begin
}

// gathered returns the partitions whose pieces are to be given next; nil if there are too
// few, and then it is over.
func (o *outflow) gathered() []*partition {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.wait) < togetherPieces {
		o.giving = false
		return nil
	}
	all := o.wait
	o.wait = nil
	return all
}

// giveAll makes the logs of partitions durable. Meanwhile they are not held up: where others
// write to the file system, too, it may take long.
func giveAll(b *Broker, all []*partition) {
	written := make([]commitlog.Written, len(all))
	for i, p := range all {
		written[i] = p.log.Written()
	}
	did, err := b.syncer.all()
	if err != nil {
		return // it ends the broker
	}
	for i, p := range all {
		if !did {
			p.sync()
		} else if written[i].Durable() {
			p.notify()
		}
	}
}
