package meta

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions lets the database compact, one thing at a time, once it is open. A
// compaction that begins while it opens outlives an Open that fails, and then panics.
type compactions struct {
	mu      sync.Mutex // guards what follows
	db      pebble.DBForCompaction
	open    bool
	running bool           // or being offered
	missed  bool           // somebody asked while the place was being offered
	asked   sync.WaitGroup // calls of db
}

// Register is called by the database while it opens.
func (c *compactions) Register(_ int, db pebble.DBForCompaction) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.db = db
}

// begin is called when the database is open.
func (c *compactions) begin() {
	c.mu.Lock()
	c.open = true
	c.mu.Unlock()
	c.offer()
}

// Unregister is called when the database closes: nothing is asked of it any more.
func (c *compactions) Unregister() {
	c.mu.Lock()
	c.open = false
	c.mu.Unlock()
	c.asked.Wait()
}

// TrySchedule takes the one place there is, if it is free.
func (c *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open || c.running {
		c.missed = true
		return false, nil
	}
	c.running = true
	return true, c
}

// UpdateGetAllowedWithoutPermission is of no use where one is allowed.
func (c *compactions) UpdateGetAllowedWithoutPermission() {}

// Started, MeasureCPU and CumulativeStats tell of a compaction.
func (c *compactions) Started()                                          {}
func (c *compactions) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (c *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done gives the place to what waits for it.
func (c *compactions) Done() {
	c.mu.Lock()
	c.running = false
	c.mu.Unlock()
	c.offer()
}

// offer gives the place to a compaction that waits, if it is free.
func (c *compactions) offer() {
	c.mu.Lock()
	if !c.open || c.running {
		c.mu.Unlock()
		return
	}
	c.running = true
	c.asked.Add(1)
	defer c.asked.Done()
	for again := true; again && c.open; {
		c.missed = false
		c.mu.Unlock()
		if waits, _ := c.db.GetWaitingCompaction(); waits && c.db.Schedule(c) {
			return // Done comes when it has run
		}
		c.mu.Lock()
		again = c.missed
	}
	c.running = false
	c.mu.Unlock()
}
