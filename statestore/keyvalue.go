package statestore

import (
	"encoding/binary"
	"fmt"
)

// KeyValue is a store of values of one type: layer 1 over a Partition. It
// belongs to one goroutine.
type KeyValue[V any] struct {
	name      string
	partition *Partition
	codec     Codec[V]
	table     table[V]
	changed   []uint32 // entries, in the order of first change since the last Prepare
	prepared  []preparedEntry
	buf       []byte // bytes of prepared
	sizeSum   int64  // of prepared values, to estimate what values weigh
	sizeCount int64
	evictAt   int // entries at which some are dropped
}

// preparedEntry is a change handed to the changelog: its key and stored form
// lie in KeyValue.buf.
type preparedEntry struct {
	entry              uint32
	off, keyLen, total int
	deleted            bool
}

var _ Store = (*KeyValue[int64])(nil)

// NewKeyValue makes a store over a partition.
func NewKeyValue[V any](name string, p *Partition, c Codec[V]) *KeyValue[V] {
	s := &KeyValue[V]{name: name, partition: p, codec: c}
	s.evictAt = s.limit()
	return s
}

// Name implements Store.
func (s *KeyValue[V]) Name() string { return s.name }

// Lookup returns the entry of a key, not Present if it has no value. It must
// not be changed, and is valid until the next call on the store.
func (s *KeyValue[V]) Lookup(key []byte) (*Entry[V], error) {
	_, e, err := s.load(key)
	if err != nil {
		return nil, err
	}
	return &e.Entry, nil
}

// Update returns the entry of a key for the caller to change in place; it
// counts as changed. An entry left not Present is deleted. It is valid until
// the next call on the store.
func (s *KeyValue[V]) Update(key []byte) (*Entry[V], error) {
	n, e, err := s.load(key)
	if err != nil {
		return nil, err
	}
	if e.flags&dirty == 0 {
		e.flags |= dirty
		s.changed = append(s.changed, n)
	}
	return &e.Entry, nil
}

// load finds a key in the table, or brings it there.
func (s *KeyValue[V]) load(key []byte) (uint32, *tableEntry[V], error) {
	hash := hashKey(key)
	if n, e := s.table.find(hash, key); e != nil {
		e.flags |= recent
		return n, e, nil
	}
	stored, ok, err := s.partition.get(hash, key)
	if err != nil {
		return 0, nil, err
	}
	var loaded Entry[V]
	if ok {
		if loaded, err = s.decode(stored); err != nil {
			return 0, nil, err
		}
	}
	if s.table.live >= s.evictAt {
		limit := s.limit()
		s.table.evict(limit - limit/16)
		s.evictAt = max(limit, s.table.live+limit/16)
	}
	n, e := s.table.insert(hash, key)
	e.Entry = loaded
	return n, e, nil
}

func (s *KeyValue[V]) decode(stored []byte) (Entry[V], error) {
	var e Entry[V]
	if len(stored) < timestampSize {
		return e, fmt.Errorf("statestore: store %s: a value of %d bytes has no timestamp", s.name, len(stored))
	}
	var b []byte
	e.Timestamp, b = splitStored(stored)
	v, err := s.codec.Decode(b)
	if err != nil {
		return e, fmt.Errorf("statestore: store %s: %w", s.name, err)
	}
	e.Value, e.Present = v, true
	return e, nil
}

// minEntries is what a table may hold whatever the budget.
const minEntries = 1024

// limit is how many entries the table's share of the budget holds.
func (s *KeyValue[V]) limit() int {
	e := s.partition.engine
	share := e.cfg.TableBytes / max(1, e.opened.Load())
	return max(minEntries, int(share/s.weight()))
}

// weight is about what one entry costs.
func (s *KeyValue[V]) weight() int64 {
	size := s.table.entryBytes()
	if s.sizeCount > 0 {
		size += s.sizeSum / s.sizeCount
	}
	return size
}

// EachChanged calls fn for what changed since the last Prepare, in the order of
// first change. fn must not use the store.
func (s *KeyValue[V]) EachChanged(fn func(key []byte, e *Entry[V]) error) error {
	for _, n := range s.changed {
		e := s.table.entry(n)
		if err := fn(s.table.key(n, e), &e.Entry); err != nil {
			return err
		}
	}
	return nil
}

// Prepare implements Store.
func (s *KeyValue[V]) Prepare(yield func(Change) error) error {
	s.buf, s.prepared = s.buf[:0], s.prepared[:0]
	for _, n := range s.changed {
		e := s.table.entry(n)
		p := preparedEntry{entry: n, off: len(s.buf), deleted: !e.Present}
		s.buf = append(s.buf, s.table.key(n, e)...)
		p.keyLen = len(s.buf) - p.off
		s.buf = binary.BigEndian.AppendUint64(s.buf, uint64(e.Timestamp))
		if e.Present {
			var err error
			if s.buf, err = s.codec.Append(s.buf, e.Value); err != nil {
				return fmt.Errorf("statestore: store %s: %w", s.name, err)
			}
		}
		p.total = len(s.buf) - p.off
		s.prepared = append(s.prepared, p)
		e.flags = e.flags&^dirty | pinned
	}
	s.changed = s.changed[:0]
	for i := range s.prepared {
		p := &s.prepared[i]
		key, stored := s.preparedBytes(p)
		c := Change{Key: key}
		c.Timestamp, c.Value = splitStored(stored)
		if p.deleted {
			c.Value = nil
		}
		s.sizeSum += int64(len(c.Value))
		if err := yield(c); err != nil {
			return err
		}
	}
	s.sizeCount += int64(len(s.prepared))
	return nil
}

func (s *KeyValue[V]) preparedBytes(p *preparedEntry) (key, stored []byte) {
	k, end := p.off+p.keyLen, p.off+p.total
	return s.buf[p.off:k:k], s.buf[k:end:end]
}

// Committed implements Store.
func (s *KeyValue[V]) Committed(upTo Cut) {
	p := s.partition
	p.mu.Lock()
	before := p.filling.bytes
	for i := range s.prepared {
		pe := &s.prepared[i]
		e := s.table.entry(pe.entry)
		e.flags &^= pinned
		key, stored := s.preparedBytes(pe)
		if pe.deleted {
			stored = nil
		}
		p.filling.put(uint64(e.hash), key, stored)
	}
	p.reach(upTo)
	grown := p.filling.bytes - before
	p.mu.Unlock()
	s.prepared = s.prepared[:0]
	p.engine.grew(grown)
}

// Abort implements Store: what changed is dropped from the table and comes back
// from what is committed.
func (s *KeyValue[V]) Abort() {
	drop := s.changed
	for i := range s.prepared {
		if e := s.table.entry(s.prepared[i].entry); e.flags&dirty == 0 {
			drop = append(drop, s.prepared[i].entry)
		}
	}
	for _, n := range drop {
		s.table.remove(n)
	}
	s.changed, s.prepared = s.changed[:0], s.prepared[:0]
}

// UncommittedBytes implements Store.
func (s *KeyValue[V]) UncommittedBytes() int64 {
	return int64(len(s.changed)+len(s.prepared)) * s.weight()
}

// Scan calls fn for every key from from up to, not including, to, in order,
// changes that are not committed included; a nil to is the end. fn must not use
// the store, and what it is given is valid during the call.
func (s *KeyValue[V]) Scan(from, to []byte, fn func(key []byte, e *Entry[V]) (more bool, err error)) error {
	newest := &generation{}
	var stored []byte
	put := func(n uint32) error {
		e := s.table.entry(n)
		stored = binary.BigEndian.AppendUint64(stored[:0], uint64(e.Timestamp))
		form := []byte(nil)
		if e.Present {
			var err error
			if stored, err = s.codec.Append(stored, e.Value); err != nil {
				return fmt.Errorf("statestore: store %s: %w", s.name, err)
			}
			form = stored
		}
		newest.put(uint64(e.hash), s.table.key(n, e), form)
		return nil
	}
	for i := range s.prepared {
		if err := put(s.prepared[i].entry); err != nil {
			return err
		}
	}
	for _, n := range s.changed {
		if err := put(n); err != nil {
			return err
		}
	}
	return s.partition.scan([]cursor{newGenCursor(newest, from, to)}, from, to, func(key, stored []byte) (bool, error) {
		e, err := s.decode(stored)
		if err != nil {
			return false, err
		}
		return fn(key, &e)
	})
}
