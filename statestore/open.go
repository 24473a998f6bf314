package statestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/levada/levada/internal/datadir"
)

const (
	format      = "levada state, version 1"
	engineDir   = "engine"
	damagedFile = "damaged" // the mark that the engine was found damaged while it ran
	// maxDamaged bounds the damaged engines that are kept.
	maxDamaged = 1000
)

// Open opens or makes the engine of a directory. An engine that is damaged is
// renamed, kept, and replaced by an empty one, which changelogs fill again.
func Open(cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	dir, err := datadir.Open(cfg.FS, cfg.Dir, format)
	if err != nil {
		return nil, fmt.Errorf("statestore: %w", err)
	}
	e := &Engine{
		cfg: cfg, dir: dir, cache: pebble.NewCache(cfg.CacheBytes), ids: map[ID]uint32{}, nextID: metaID + 1,
		partitions: map[ID]*Partition{}, flushedAt: cfg.Now(),
		kick: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := e.openDB(); err != nil {
		e.cache.Unref()
		return nil, errors.Join(err, dir.Close())
	}
	if !cfg.Synchronous {
		go e.run()
	}
	return e, nil
}

// openDB opens Pebble, anew after putting a damaged one aside.
func (e *Engine) openDB() error {
	var cause error
	if mark, err := e.dir.Read(damagedFile); err == nil {
		cause = errors.New(mark)
	} else {
		err := e.tryOpen()
		if err == nil || !isDamage(err) {
			return err
		}
		cause = err
	}
	aside, err := e.putAside()
	if err != nil {
		return fmt.Errorf("statestore: %s is damaged (%w) and cannot be put aside: %w", e.cfg.Dir, cause, err)
	}
	e.cfg.Logger.Error("the state on disk is damaged; it is kept and rebuilt from the changelogs", "kept", aside, "err", cause)
	e.rebuilt = true
	return e.tryOpen()
}

// isDamage tells damage from an environment that refuses.
func isDamage(err error) bool {
	for _, not := range []error{os.ErrPermission, syscall.ENOSPC, syscall.EMFILE, syscall.ENFILE, syscall.EROFS, syscall.EIO, syscall.ENOMEM} {
		if errors.Is(err, not) {
			return false
		}
	}
	return true
}

func (e *Engine) putAside() (string, error) {
	fs := e.cfg.FS
	for i := range maxDamaged {
		name := fmt.Sprintf("%s.damaged-%d", engineDir, i+1)
		if e.dir.Has(name) {
			continue
		}
		if err := fs.Rename(e.dir.Join(engineDir), e.dir.Join(name)); err != nil {
			return "", err
		}
		if err := datadir.SyncDir(fs, e.cfg.Dir); err != nil {
			return "", err
		}
		if e.dir.Has(damagedFile) {
			return e.dir.Join(name), e.dir.Remove(damagedFile)
		}
		return e.dir.Join(name), nil
	}
	return "", fmt.Errorf("%d damaged engines are kept already: delete some", maxDamaged)
}

func (e *Engine) options() *pebble.Options {
	o := &pebble.Options{
		FS: e.cfg.FS, Cache: e.cache, DisableWAL: true,
		FormatMajorVersion: pebble.FormatNewest,
		// Flushes are ingested tables; the memtable only ever holds range deletes.
		MemTableSize:                1 << 20,
		L0CompactionThreshold:       4,
		Logger:                      pebbleLogger{e.cfg.Logger},
		DisableAutomaticCompactions: e.cfg.Synchronous,
	}
	if e.cfg.Synchronous {
		o.L0StopWritesThreshold = math.MaxInt32 // nothing would ever end the stall
	}
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// tryOpen opens Pebble and reads the numbers of the partitions.
func (e *Engine) tryOpen() error {
	db, err := pebble.Open(e.dir.Join(engineDir), e.options())
	if err != nil {
		return fmt.Errorf("statestore: %s: %w", e.cfg.Dir, err)
	}
	e.db = db
	if err := e.readIDs(); err != nil {
		return errors.Join(fmt.Errorf("statestore: %s: %w", e.cfg.Dir, err), db.Close())
	}
	return nil
}

func (e *Engine) readIDs() error {
	prefix := rowPrefix(metaID, kindData)
	it, err := e.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: rowPrefix(metaID, kindData+1)})
	if err != nil {
		return err
	}
	for ok := it.First(); ok; ok = it.Next() {
		id, err := decodeID(it.Key()[len(prefix):])
		if err != nil || len(it.Value()) != 4 {
			return errors.Join(err, it.Close(), errors.New("a partition's number cannot be read"))
		}
		num := binary.BigEndian.Uint32(it.Value())
		e.ids[id] = num
		e.nextID = max(e.nextID, num+1)
	}
	return it.Close()
}

// encodeID is: length and bytes of the application, of the store, then the
// partition, big endian.
func encodeID(id ID) []byte {
	b := binary.AppendUvarint(nil, uint64(len(id.App)))
	b = append(b, id.App...)
	b = binary.AppendUvarint(b, uint64(len(id.Store)))
	b = append(b, id.Store...)
	return binary.BigEndian.AppendUint32(b, uint32(id.Partition))
}

func decodeID(b []byte) (ID, error) {
	var id ID
	for _, field := range []*string{&id.App, &id.Store} {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return id, errors.New("a partition's name cannot be read")
		}
		*field = string(b[w : w+int(n)])
		b = b[w+int(n):]
	}
	if len(b) != 4 {
		return id, errors.New("a partition's name cannot be read")
	}
	id.Partition = int32(binary.BigEndian.Uint32(b))
	return id, nil
}
