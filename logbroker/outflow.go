package logbroker

import (
	"slices"
	"sync"
	"time"

	"github.com/levada/levada/logbroker/commitlog"
)

const (
	// earlySyncBytes is how much may be unsynced before the disk gets it though nobody
	// asked for that. Whoever writes waits for the disk behind a large sync, and hardly
	// behind a small one.
	earlySyncBytes = 2 << 20
	// togetherLogs is how many logs have to have a piece for them to be given together. While
	// that is done, those of twice as many may wait.
	togetherLogs = 8
	// Logs are many if the last recentPieces are of manyLogs. With fewer whoever writes waits
	// longer than if each piece is given by itself (docs/benchmarks.md).
	recentPieces = 16
	manyLogs     = 12
	// slowGiving is what it may take: more is that of others who write to the file system.
	slowGiving = 500 * time.Millisecond
)

// outflow gives the disk what nobody waits for, in pieces of earlySyncBytes: that of one of
// few logs as it comes, which is the work of whoever wrote it, those of many by a sync of the
// file system, which is the work of the kernel. Nothing counts as durable by it.
type outflow struct {
	mu     sync.Mutex // guards what follows
	recent [recentPieces]*partition
	pieces int // that there have been
	wait   []*partition
	giving bool // pieces are being given together
	pacing pacing
}

// give gives the disk a piece of a partition, or sees to it that it gets it with those of
// others. It returns false where that cannot be; a sync says why.
func (o *outflow) give(p *partition) bool {
	kept, begin := o.gather(p, p.broker.now())
	if begin {
		p.broker.spawn(func() {
			for all := o.gathered(); all != nil; all = o.gathered() {
				o.giveAll(p.broker, all)
			}
		})
	}
	return kept || p.log.WriteOut()
}

// gather keeps a piece of a partition for those of others, unless it is not one of many, or
// too many are kept. It tells whether somebody has to begin to give them.
func (o *outflow) gather(p *partition, now time.Time) (kept, begin bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.recent[o.pieces%recentPieces] = p
	o.pieces++
	switch {
	case !o.many() || !o.pacing.allows(now):
		return false, false
	case slices.Contains(o.wait, p):
		return true, false
	case len(o.wait) >= 2*togetherLogs:
		return false, false
	}
	o.wait = append(o.wait, p)
	begin = !o.giving && len(o.wait) >= togetherLogs
	o.giving = o.giving || begin
	return true, begin
}

// many tells whether the last pieces are of many logs. mu is held.
func (o *outflow) many() bool {
	logs := 0
	for i, p := range o.recent {
		if p != nil && !slices.Contains(o.recent[:i], p) {
			logs++
		}
	}
	return logs >= manyLogs
}

// gathered returns the partitions whose pieces are to be given next; nil if there are too
// few, and then it is over.
func (o *outflow) gathered() []*partition {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.wait) < togetherLogs {
		o.giving = false
		return nil
	}
	all := o.wait
	o.wait = nil
	return all
}

// giveAll gives the disk what was written to the logs of partitions, and waits until it has it.
func (o *outflow) giveAll(b *Broker, all []*partition) {
	written := make([]commitlog.Written, len(all))
	for i, p := range all {
		written[i] = p.log.Written()
	}
	start := time.Now()
	did, err := b.syncer.all()
	o.mu.Lock()
	o.pacing.took(time.Since(start), slowGiving, b.now())
	o.mu.Unlock()
	for i, p := range all {
		switch {
		case err != nil: // which ends the broker
		case did:
			written[i].Given()
		default:
			p.sync()
		}
	}
}
