package logbroker

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"

	"github.com/levada/levada/logbroker/commitlog"
)

// minCheckpoint is how much a log must have grown, in bytes, for a checkpoint.
const minCheckpoint = 64 << 10

// checkpoints bound what a start after a crash has to read.
type checkpoints struct {
	since atomic.Int64 // bytes that were written since the last ones
	busy  atomic.Bool
}

// wrote counts records, and lets checkpoints be written when there are too many
// without one.
func (c *checkpoints) wrote(b *Broker, bytes int) {
	if c.since.Add(int64(bytes)) < b.cfg.Limits.RecoveryBytes || !c.busy.CompareAndSwap(false, true) {
		return
	}
	c.since.Store(0)
	b.spawn(func() {
		defer c.busy.Store(false)
		// What was deleted, or sealed, since then counts no more.
		if unsaved := b.unsaved(); unsaved < b.cfg.Limits.RecoveryBytes {
			c.since.Add(unsaved)
			return
		}
		if err := b.checkpoint(min(minCheckpoint, b.cfg.Limits.RecoveryBytes)); err != nil && !b.run.closed.Load() {
			b.log.Warn("checkpoints were not written; a start after a crash reads more", "error", err)
		}
	})
}

// unsaved is how many bytes a start after a crash would have to read.
func (b *Broker) unsaved() (bytes int64) {
	b.topics.each(func(p *partition) {
		if p.log != nil && !p.gone.Load() {
			bytes += p.log.Unsaved()
		}
	})
	return bytes
}

// checkpoint writes a checkpoint of every log that has grown by so many bytes. All
// become durable with one call where the file system has it: one by one they would
// take several syncs each. Meanwhile records are written, and a log takes none while its own
// checkpoint is begun or finished. So it is one log at a time, in an order that no client has: one
// that writes to many in the same order would wait for each.
func (b *Broker) checkpoint(least int64) error {
	start := b.now()
	var logs []*commitlog.Log
	b.topics.each(func(p *partition) {
		if p.log != nil && !p.gone.Load() {
			logs = append(logs, p.log)
		}
	})
	order := rand.New(rand.NewPCG(0, 0)) // the same each time, so that a simulation can be repeated
	order.Shuffle(len(logs), func(i, j int) { logs[i], logs[j] = logs[j], logs[i] })
	var begun []*commitlog.Checkpoint
	var errs []error
	for _, l := range logs {
		if b.run.closed.Load() {
			break
		}
		if c, err := l.BeginCheckpoint(least); err != nil {
			errs = append(errs, err)
		} else if c != nil {
			begun = append(begun, c)
		}
	}
	if len(begun) == 0 {
		return errors.Join(errs...)
	}
	atOnce, err := b.syncer.all()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	synced := make([]error, len(begun))
	if !atOnce {
		b.parallel(len(begun), func(i int) { synced[i] = begun[i].Sync() })
	}
	for i, c := range begun {
		err := synced[i]
		if err == nil && !b.run.closed.Load() {
			err = c.Finish()
		}
		if errors.Is(err, commitlog.ErrFailed) {
			b.fatal(err)
		}
		errs = append(errs, err)
	}
	b.log.Debug("checkpoints were written", "logs", len(begun), "took", b.now().Sub(start))
	return errors.Join(errs...)
}

// maxOpens is how many logs are opened at once, which is a matter of waiting for
// the disk.
const maxOpens = 16

// parallel calls fn for 0 to n-1, several at a time unless the broker is
// Synchronous.
func (b *Broker) parallel(n int, fn func(i int)) {
	workers := min(n, maxOpens)
	if b.cfg.Synchronous {
		workers = 1
	}
	var next atomic.Int64
	done := make(chan struct{}, workers)
	for range workers {
		work := func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
			done <- struct{}{}
		}
		if workers == 1 {
			work()
		} else {
			go work()
		}
	}
	for range workers {
		<-done
	}
}
