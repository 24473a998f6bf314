package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Config says where the database lives.
type Config struct {
	FS     vfs.FS
	Dir    string
	Logger *slog.Logger
	// OnFatal is called, once, when the database can no longer be written: a
	// failed sync leaves no way to know what is on disk.
	OnFatal func(error)
}

// Store is the open database. Its methods are safe for concurrent use.
type Store struct {
	fs      vfs.FS
	db      *pebble.DB
	failed  atomic.Pointer[error]
	fatal   func(error)
	opening opening
	mark    mark

	mu      sync.Mutex // guards pending
	pending map[pendingID]map[int64]Offset
}

type pendingID struct {
	group, topic string
	partition    int32
}

// Open opens the database, or creates it, and loads the pending offsets. Where its log
// or its manifest is damaged, also at the end, it returns a *DamageError and changes
// nothing.
func Open(cfg Config) (_ *Store, err error) {
	s := &Store{fs: cfg.FS, fatal: cfg.OnFatal, pending: map[pendingID]map[int64]Offset{}}
	if err := checkTails(cfg.FS, cfg.Dir); err != nil {
		return nil, err
	}
	s.mark = mark{fs: cfg.FS, dir: cfg.Dir, log: cfg.Logger}
	compactions := &compactions{}
	opts := &pebble.Options{
		FS:                 newFence(cfg.FS, cfg.Dir, s),
		Logger:             &logger{store: s, log: cfg.Logger},
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       4 << 20,
		MaxOpenFiles:       64,
		// They are collected by a goroutine that outlives an Open that fails, and
		// then panics.
		DisableTableStats: true,
	}
	opts.Experimental.CompactionScheduler = compactions
	db, err := s.opening.open(cfg.Dir, opts)
	if err != nil {
		s.mark.close(false)
		return nil, fmt.Errorf("meta: open %s: %w", cfg.Dir, err)
	}
	s.db = db
	compactions.begin()
	if err := s.loadPending(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// fail records that the database can no longer be written. While it is being opened
// that ends the Open.
func (s *Store) fail(err error) {
	if s.failed.CompareAndSwap(nil, &err) && s.fatal != nil {
		s.fatal(err)
	}
	s.opening.giveUp(err)
}

// catch turns a panic with an error into that error: Pebble panics where the
// directory cannot be synced in which it names another manifest.
func catch(err *error) {
	switch failure := recover().(type) {
	case nil:
	case runtime.Error:
		panic(failure)
	case error:
		*err = fmt.Errorf("meta: %w", failure)
	default:
		panic(failure)
	}
}

// Close closes the database. Everything committed reaches the file system.
func (s *Store) Close() error {
	err := s.db.Close()
	s.mark.close(err == nil && s.failure() == nil)
	return err
}

// Sync makes every commit so far durable.
func (s *Store) Sync() error {
	b := s.NewBatch()
	b.log([]byte("sync"))
	return s.Commit(b, true)
}

// Checkpoint makes dir, which must not be there, a copy of the database as it is,
// with all commits that have returned. Its files share their bytes with this one's.
func (s *Store) Checkpoint(dir string) (err error) {
	defer catch(&err)
	if err := s.failure(); err != nil {
		return err
	}
	err = s.db.Checkpoint(dir, pebble.WithFlushedWAL())
	if err == nil && s.lacksManifest(dir) {
		// Pebble begins a manifest with the first flush, and an open that finds
		// nothing to replay makes none: the copy has an empty one then, and is no
		// database.
		if err = errors.Join(s.fs.RemoveAll(dir), s.db.Flush()); err == nil {
			err = s.db.Checkpoint(dir, pebble.WithFlushedWAL())
		}
	}
	if err = errors.Join(err, s.failure()); err != nil {
		return fmt.Errorf("meta: checkpoint in %s: %w", dir, err)
	}
	return nil
}

// lacksManifest tells whether a manifest of a checkpoint is empty.
func (s *Store) lacksManifest(dir string) bool {
	names, err := s.fs.List(dir)
	if err != nil {
		return false // who opens it is told
	}
	return slices.ContainsFunc(names, func(name string) bool {
		info, err := s.fs.Stat(s.fs.PathJoin(dir, name))
		return strings.HasPrefix(name, "MANIFEST-") && err == nil && info.Size() == 0
	})
}

// Commit applies the batch atomically; with sync it is durable on return. The
// batch cannot be used again.
func (s *Store) Commit(b *Batch, sync bool) error {
	defer func() { _ = b.b.Close() }()
	if err := s.failure(); err != nil {
		return err
	}
	if b.err != nil {
		return b.err
	}
	opts := pebble.NoSync
	if sync {
		opts = pebble.Sync
	}
	// The index changes before the rows do: a reader that finds a pending
	// offset where the database shows none yet only says "unstable" too early.
	b.Announce()
	if err := s.db.Apply(b.b, opts); err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	if err := s.failure(); err != nil {
		return err
	}
	s.mu.Lock()
	for _, p := range b.decided {
		s.removePending(p)
	}
	s.mu.Unlock()
	return nil
}

func (s *Store) failure() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Store) addPending(p PendingOffset) {
	id := pendingID{p.Group, p.Offset.Topic, p.Offset.Partition}
	if s.pending[id] == nil {
		s.pending[id] = map[int64]Offset{}
	}
	s.pending[id][p.ProducerID] = p.Offset
}

func (s *Store) removePending(p PendingOffset) {
	id := pendingID{p.Group, p.Offset.Topic, p.Offset.Partition}
	delete(s.pending[id], p.ProducerID)
	if len(s.pending[id]) == 0 {
		delete(s.pending, id)
	}
}

func (s *Store) loadPending() error {
	all, err := s.PendingOffsets()
	for _, p := range all {
		s.addPending(p)
	}
	return err
}

// scan calls fn for every row under prefix, in key order.
func (s *Store) scan(prefix []byte, fn func(key, value []byte) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upperBound(prefix)})
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = fn(it.Key()[len(prefix):], value)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("meta: row %q: %w", it.Key(), err), it.Close())
		}
	}
	return it.Close()
}

// get returns a copy of a row, or nil where there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("meta: row %q: %w", key, err)
	}
	out := append([]byte{}, v...)
	return out, closer.Close()
}

// System returns a system value, nil where it was never set.
func (s *Store) System(name string) ([]byte, error) { return s.get(nameKey(kindSystem, name)) }

// Topics lists all topics by name.
func (s *Store) Topics() (out []Topic, err error) {
	err = s.scan([]byte{kindTopic}, func(k, v []byte) error {
		t, err := decodeTopic(string(k), v)
		out = append(out, t)
		return err
	})
	return out, err
}

// DeletedTopics lists topics whose directories may still have to be removed.
func (s *Store) DeletedTopics() (out []Topic, err error) {
	err = s.scan([]byte{kindDeleted}, func(_, v []byte) error {
		t, err := decodeDeleted(v)
		out = append(out, t)
		return err
	})
	return out, err
}

// LogStarts are the log starts that DeleteRecords has set.
func (s *Store) LogStarts() (map[Partition]int64, error) {
	out := map[Partition]int64{}
	err := s.scan([]byte{kindLogStart}, func(k, v []byte) error {
		p, start, err := decodeLogStart(k, v)
		out[p] = start
		return err
	})
	return out, err
}

// Txns lists all transactional ids.
func (s *Store) Txns() (out []Txn, err error) {
	err = s.scan([]byte{kindTxn}, func(k, v []byte) error {
		t, err := decodeTxn(string(k), v)
		out = append(out, t)
		return err
	})
	return out, err
}

// Decisions lists the decisions whose markers may not be durable everywhere,
// by producer id, epoch and counter.
func (s *Store) Decisions() (out []Decision, err error) {
	err = s.scan([]byte{kindDecision}, func(k, v []byte) error {
		if len(k) != 18 {
			return errKey
		}
		c, err := decodeDecision(Decision{
			ProducerID: int64(binary.BigEndian.Uint64(k)),
			Epoch:      int16(binary.BigEndian.Uint16(k[8:])),
			Counter:    int64(binary.BigEndian.Uint64(k[10:])),
		}, v)
		out = append(out, c)
		return err
	})
	return out, err
}

// Groups calls fn with every group row, in the order of their names; value is
// valid only during the call.
func (s *Store) Groups(fn func(group string, value []byte) error) error {
	return s.scan([]byte{kindGroup}, func(k, v []byte) error { return fn(string(k), v) })
}

// Group returns the row of one group, nil where there is none.
func (s *Store) Group(group string) ([]byte, error) { return s.get(nameKey(kindGroup, group)) }
