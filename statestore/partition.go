package statestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// Partition is layers 2 and 3 of one partition of a store. Its owner calls it
// from one goroutine; the engine flushes it from another.
type Partition struct {
	engine *Engine
	id     ID
	num    uint32

	mu       sync.Mutex // guards what follows
	filling  *generation
	flushing *generation // nil unless a flush is under way
	upTo     Cut         // that filling reaches
	moved    bool        // upTo is ahead of what is on disk
	cut      Cut         // on disk
	onDisk   bool        // there is a cut on disk
	isNew    bool        // its number is not on disk
	closed   bool
	rowKey   []byte // reused
	copied   []byte // reused: what Get returns out of Pebble
}

func (p *Partition) readCut() error {
	v, closer, err := p.engine.db.Get(rowPrefix(p.num, kindCut))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err != nil {
		return p.engine.fail(fmt.Errorf("statestore: cut of %s/%d: %w", p.id.Store, p.id.Partition, err))
	}
	defer closer.Close()
	p.cut, err = decodeCut(v)
	p.onDisk, p.upTo = err == nil, p.cut
	return err
}

// Cut is where the state on disk stands; false if nothing is on disk.
func (p *Partition) Cut() (Cut, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut, p.onDisk
}

// Get returns the stored form of a key; the bytes are valid until the next
// call.
func (p *Partition) Get(key []byte) (stored []byte, ok bool, err error) {
	return p.get(hashKey(key), key)
}

func (p *Partition) get(hash uint64, key []byte) (stored []byte, ok bool, err error) {
	p.mu.Lock()
	for _, g := range []*generation{p.filling, p.flushing} {
		if g == nil {
			continue
		}
		if e := g.find(hash, key); e != nil {
			stored = g.stored(e)
			p.mu.Unlock()
			return stored, stored != nil, nil
		}
	}
	onDisk := p.onDisk
	p.mu.Unlock()
	if !onDisk {
		return nil, false, nil
	}
	if p.rowKey == nil {
		p.rowKey = rowPrefix(p.num, kindData)
	}
	p.rowKey = append(p.rowKey[:5], key...)
	v, closer, err := p.engine.db.Get(p.rowKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, p.engine.fail(fmt.Errorf("statestore: %s/%d: %w", p.id.Store, p.id.Partition, err))
	}
	p.copied = append(p.copied[:0], v...)
	return p.copied, true, closer.Close()
}

// Restore adds changes read from the changelog, in its order, up to a cut.
func (p *Partition) Restore(batch []Change, upTo Cut) error {
	var stored []byte
	p.mu.Lock()
	before := p.filling.bytes
	for _, c := range batch {
		if c.Value == nil {
			p.filling.put(hashKey(c.Key), c.Key, nil)
			continue
		}
		stored = binary.BigEndian.AppendUint64(stored[:0], uint64(c.Timestamp))
		stored = append(stored, c.Value...)
		p.filling.put(hashKey(c.Key), c.Key, stored)
	}
	p.reach(upTo)
	grown := p.filling.bytes - before
	p.mu.Unlock()
	p.engine.grew(grown)
	return p.engine.Err()
}

// reach moves the cut that the filling generation carries. The caller holds mu.
func (p *Partition) reach(upTo Cut) {
	upTo.TimestampMs = 0
	was := p.upTo
	was.TimestampMs = 0
	if upTo != was {
		p.moved = true
	}
	p.upTo = upTo
}

// Reset forgets everything, in memory and on disk.
func (p *Partition) Reset() error {
	p.engine.flushMu.Lock()
	defer p.engine.flushMu.Unlock()
	p.mu.Lock()
	p.engine.filling.Add(-p.filling.bytes)
	p.filling, p.flushing, p.moved, p.onDisk = &generation{}, nil, false, false
	p.cut, p.upTo = Cut{}, Cut{}
	p.mu.Unlock()
	if err := p.engine.db.DeleteRange(rowPrefix(p.num, 0), rowPrefix(p.num+1, 0), pebble.NoSync); err != nil {
		return p.engine.fail(fmt.Errorf("statestore: reset %s/%d: %w", p.id.Store, p.id.Partition, err))
	}
	if err := p.engine.db.Flush(); err != nil {
		return p.engine.fail(fmt.Errorf("statestore: reset %s/%d: %w", p.id.Store, p.id.Partition, err))
	}
	return nil
}

// Flush makes everything committed durable.
func (p *Partition) Flush() error { return p.engine.Flush() }

// Close flushes the partition and lets another owner open it.
func (p *Partition) Close() error {
	p.mu.Lock()
	dirty, closed := p.moved || len(p.filling.entries) > 0, p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	var err error
	if dirty {
		err = p.engine.Flush()
	}
	p.engine.release(p)
	return err
}
