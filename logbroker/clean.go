package logbroker

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/levada/levada/logbroker/commitlog"
)

// cleaner deletes and compacts what topics need not keep.
type cleaner struct {
	b *Broker
	// damaged are partitions that could not be compacted, which was said; they
	// are left alone until the next start. Only the run under way uses it.
	damaged map[*partition]bool
}

// schedule cleans again and again, one partition after another.
func (c *cleaner) schedule(at time.Time, nextRetention time.Time) {
	c.b.timers.at(at, func(now time.Time) {
		c.b.spawn(func() {
			expire := !now.Before(nextRetention)
			if expire {
				nextRetention = now.Add(c.b.cfg.RetentionInterval)
			}
			c.run(expire)
			c.schedule(c.b.now().Add(c.b.settings.Load().compactionInterval), nextRetention)
		})
	})
}

// Clean does at once what is otherwise done every RetentionInterval and
// CompactionInterval, and looks for offsets and groups that go. In a Synchronous broker,
// where timers would have no end, only this does it. It must not be called concurrently.
func (b *Broker) Clean() {
	b.cleaner.run(true)
	b.expireOffsets()
}

func (c *cleaner) run(expire bool) {
	// One for all logs; its memory is taken when there is something to do, and not
	// kept.
	compactor := commitlog.NewCompactor(c.b.settings.Load().compactionBytes)
	c.b.topics.each(func(p *partition) { c.clean(p, compactor, expire) })
	if expire && !c.b.run.closed.Load() && c.b.failure() == nil {
		c.b.expireTxns()
		if err := c.b.topics.retryRemovals(); err != nil {
			c.b.log.Warn("deleted topics cannot be listed", "error", err)
		}
	}
}

// clean does what one partition needs. A topic that is deleted meanwhile ends it.
func (c *cleaner) clean(p *partition, compactor *commitlog.Compactor, expire bool) {
	p.cleaning.Lock()
	defer p.cleaning.Unlock()
	if p.log == nil || p.gone.Load() || c.b.run.closed.Load() || c.b.failure() != nil {
		return
	}
	compactor.Stop = func() bool { return p.gone.Load() || c.b.run.closed.Load() }
	rules := p.topic.policy.Load()
	if expire && rules.expires {
		c.note(p, "retention", c.retain(p, rules))
	}
	if rules.compacted && !c.damaged[p] {
		c.note(p, "compaction", c.compact(p, compactor, rules))
	}
	c.note(p, "seal", c.seal(p))
	if expire {
		every := c.b.cfg.RetentionInterval
		p.log.ExpireProducers(int64((c.b.settings.Load().producerExpiry + every - 1) / every)) // rather too late than too early
		p.log.Rest()
	}
}

// awaitCleaning returns when nobody cleans the log of a topic that is gone, and
// nobody will.
func (p *partition) awaitCleaning() {
	p.cleaning.Lock()
	defer p.cleaning.Unlock()
}

func (c *cleaner) retain(p *partition, rules *policy) error {
	p.starting.Lock()
	removed, err := p.log.Retain(rules.retention, func(start int64) error {
		batch := c.b.meta.NewBatch()
		batch.PutLogStart(p.id(), start)
		return c.b.commit(batch)
	})
	p.starting.Unlock()
	if removed > 0 {
		c.b.log.Info("old records were deleted", "topic", p.topic.name, "partition", p.index, "bytes", removed, "log_start", p.log.Start())
		p.notify()
	}
	return err
}

func (c *cleaner) compact(p *partition, compactor *commitlog.Compactor, rules *policy) error {
	for !c.b.run.closed.Load() {
		began := c.b.now()
		stats, err := p.log.Compact(compactor, rules.compaction)
		if err != nil || stats.To == 0 {
			return err
		}
		c.b.log.Info("a log was compacted", "topic", p.topic.name, "partition", p.index, "below", stats.To,
			"records_removed", stats.Records, "bytes_before", stats.BytesBefore, "bytes_after", stats.BytesAfter, "took", c.b.now().Sub(began))
		if stats.Records == 0 {
			return nil
		}
	}
	return nil
}

// seal writes the sums of segments that have grown full.
func (c *cleaner) seal(p *partition) error {
	for !c.b.run.closed.Load() {
		if more, err := p.log.Seal(); !more || err != nil {
			return err
		}
	}
	return nil
}

// note says what went wrong. A failed sync ends the broker, as everywhere; what
// else failed is tried again, but for damage.
func (c *cleaner) note(p *partition, what string, err error) {
	switch {
	case err == nil, p.gone.Load(), errors.Is(err, commitlog.ErrClosed):
	case errors.Is(err, commitlog.ErrFailed):
		c.b.fatal(fmt.Errorf("%s-%d: %w", p.topic.name, p.index, err))
	case errors.Is(err, commitlog.ErrCorrupt):
		c.damaged[p] = true
		c.b.log.Error("a log is damaged and is not compacted", "topic", p.topic.name, "partition", p.index, "error", err)
	case errors.Is(err, commitlog.ErrPanic):
		c.damaged[p] = true
		c.b.log.Error("a log is not compacted until the next start, because of a fault in the broker; it is read and written as before: please report this",
			"topic", p.topic.name, "partition", p.index, "error", err)
	case errors.Is(err, syscall.ENOSPC):
		c.b.log.Warn(what+" waits for room on the disk", "topic", p.topic.name, "partition", p.index, "error", err)
	default:
		c.b.log.Warn(what+" failed and is tried again", "topic", p.topic.name, "partition", p.index, "error", err)
	}
}
