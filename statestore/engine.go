package statestore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/datadir"
)

// Config configures an Engine. The zero value of a field takes the default.
type Config struct {
	Dir string // required
	// FS is the file system. Default: the disk.
	FS     vfs.FS
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// CacheBytes is the size of the block cache. Default 16 MiB.
	CacheBytes int64
	// TableBytes is the budget of all tables in memory (layer 1); at the budget
	// entries that were not used lately and are not changed are dropped. Default
	// 256 MiB.
	TableBytes int64
	// FlushBytes of layer 2 begin a flush. Default 64 MiB.
	FlushBytes int64
	// FlushInterval is the longest time between flushes. Default 30 s.
	FlushInterval time.Duration
	// Synchronous makes flushes run inside the call of Committed or Restore that
	// finds them due, with no goroutine and no timer.
	Synchronous bool
}

func (c Config) withDefaults() (Config, error) {
	if c.Dir == "" {
		return c, errors.New("statestore: Dir is empty: name a directory for the state")
	}
	c.CacheBytes = cmp.Or(c.CacheBytes, 16<<20)
	c.TableBytes = cmp.Or(c.TableBytes, 256<<20)
	c.FlushBytes = cmp.Or(c.FlushBytes, 64<<20)
	c.FlushInterval = cmp.Or(c.FlushInterval, 30*time.Second)
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Engine is the one state engine of a process. It is safe for concurrent use.
type Engine struct {
	cfg     Config
	dir     *datadir.Dir
	db      *pebble.DB
	cache   *pebble.Cache
	rebuilt bool

	mu         sync.Mutex // guards what follows
	ids        map[ID]uint32
	nextID     uint32
	partitions map[ID]*Partition
	flushedAt  time.Time
	stats      Stats

	flushMu sync.Mutex // held while a flush runs; taken before mu
	filling atomic.Int64
	opened  atomic.Int64 // open partitions, which share the budget of the tables
	failed  atomic.Pointer[error]
	kick    chan struct{} // capacity 1: a flush is wanted
	stop    chan struct{}
	stopped chan struct{}
}

// Stats is what an Engine has done since it was opened.
type Stats struct {
	Flushes        int64
	FlushedEntries int64
	FlushedBytes   int64
	// FillingBytes is the size of what is committed and not on disk.
	FillingBytes int64
}

// Rows in Pebble begin with the number of the partition, four bytes big endian,
// and a kind. Number 0 holds the numbers of the partitions.
const (
	kindCut  = 0
	kindData = 1
	metaID   = 0
)

func rowPrefix(id uint32, kind byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, id), kind)
}

// Close flushes everything and closes the engine. Partitions are closed before.
func (e *Engine) Close() error {
	if !e.cfg.Synchronous {
		close(e.stop)
		<-e.stopped
	}
	err := e.Flush()
	err = errors.Join(err, e.db.Close())
	e.cache.Unref()
	return errors.Join(err, e.dir.Close())
}

// Rebuilt tells whether the state on disk was damaged and put aside when the
// engine was opened.
func (e *Engine) Rebuilt() bool { return e.rebuilt }

// Err is the first failure of the engine; once there is one, nothing more
// is written.
func (e *Engine) Err() error {
	if p := e.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// fail keeps the first failure. Damage leaves a mark, so that the next Open
// puts the state aside.
func (e *Engine) fail(err error) error {
	if pebble.IsCorruptionError(err) {
		if markErr := e.dir.Replace(damagedFile, err.Error()); markErr != nil {
			err = errors.Join(err, markErr)
		}
	}
	e.failed.CompareAndSwap(nil, &err)
	return err
}

// Stats tells what the engine has done.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.FillingBytes = e.filling.Load()
	return s
}

// Open opens a partition of a store. ErrInUse if another owner has it.
func (e *Engine) Open(id ID) (*Partition, error) {
	if err := e.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.partitions[id] != nil {
		return nil, fmt.Errorf("%w: %s/%s/%d", ErrInUse, id.App, id.Store, id.Partition)
	}
	num, known := e.ids[id]
	if !known {
		num = e.nextID
		e.nextID++
		e.ids[id] = num
	}
	p := &Partition{engine: e, id: id, num: num, filling: &generation{}, isNew: !known}
	if err := p.readCut(); err != nil {
		return nil, err
	}
	e.partitions[id] = p
	e.opened.Add(1)
	return p, nil
}

// release forgets an open partition.
func (e *Engine) release(p *Partition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.partitions[p.id] == p {
		delete(e.partitions, p.id)
		e.opened.Add(-1)
	}
}

// open lists the open partitions by number.
func (e *Engine) open() []*Partition {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []*Partition
	for _, p := range e.partitions {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *Partition) int { return cmp.Compare(a.num, b.num) })
	return list
}

// grew counts bytes that joined layer 2 and begins a flush if one is due.
func (e *Engine) grew(bytes int64) {
	due := e.filling.Add(bytes) >= e.cfg.FlushBytes
	if e.cfg.Synchronous {
		e.mu.Lock()
		due = due || e.cfg.Now().Sub(e.flushedAt) >= e.cfg.FlushInterval
		e.mu.Unlock()
		if due {
			_ = e.Flush() // kept by fail, and told by Err
		}
		return
	}
	if due {
		select {
		case e.kick <- struct{}{}:
		default:
		}
	}
}

// run flushes in the background.
func (e *Engine) run() {
	defer close(e.stopped)
	ticker := time.NewTicker(e.cfg.FlushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-e.kick:
		case <-ticker.C:
		}
		if err := e.Flush(); err != nil {
			e.cfg.Logger.Error("flushing state", "err", err)
		}
	}
}
