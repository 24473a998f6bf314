package statestore

import (
	"bytes"
	"fmt"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// cursor walks one layer in the order of keys. stored nil is a deletion.
type cursor interface {
	// at returns the current entry; ok is false after the last.
	at() (key, stored []byte, ok bool)
	next()
}

// merge walks cursors together, the newest layer first: of a key that several
// hold the first counts. Deletions are hidden.
func merge(cursors []cursor, fn func(key, stored []byte) (more bool, err error)) error {
	var key []byte
	for {
		var best []byte
		var stored []byte
		found := false
		for _, c := range cursors {
			k, s, ok := c.at()
			if ok && (!found || bytes.Compare(k, best) < 0) {
				best, stored, found = k, s, true
			}
		}
		if !found {
			return nil
		}
		key = append(key[:0], best...)
		if stored != nil {
			if more, err := fn(key, stored); err != nil || !more {
				return err
			}
		}
		for _, c := range cursors {
			if k, _, ok := c.at(); ok && bytes.Equal(k, key) {
				c.next()
			}
		}
	}
}

// genCursor walks a generation.
type genCursor struct {
	gen   *generation
	order []uint32
	to    []byte
}

func newGenCursor(g *generation, from, to []byte) *genCursor {
	order := g.sorted()
	i := sort.Search(len(order), func(i int) bool { return bytes.Compare(g.key(&g.entries[order[i]]), from) >= 0 })
	return &genCursor{gen: g, order: order[i:], to: to}
}

func (c *genCursor) at() (key, stored []byte, ok bool) {
	if len(c.order) == 0 {
		return nil, nil, false
	}
	e := &c.gen.entries[c.order[0]]
	key = c.gen.key(e)
	if c.to != nil && bytes.Compare(key, c.to) >= 0 {
		return nil, nil, false
	}
	return key, c.gen.stored(e), true
}

func (c *genCursor) next() { c.order = c.order[1:] }

// diskCursor walks Pebble.
type diskCursor struct {
	it    *pebble.Iterator
	valid bool
}

func (c *diskCursor) at() (key, stored []byte, ok bool) {
	if !c.valid {
		return nil, nil, false
	}
	return c.it.Key()[5:], c.it.Value(), true
}

func (c *diskCursor) next() { c.valid = c.it.Next() }

// Scan calls fn for every key from from up to, not including, to, in order,
// until it returns false; a nil to is the end. fn must not use the store.
func (p *Partition) Scan(from, to []byte, fn func(key, stored []byte) (more bool, err error)) error {
	return p.scan(nil, from, to, fn)
}

// scan also merges what is newer than the partition's layers. The lock is held
// throughout: a flush that ends meanwhile must not move entries between layers
// that were read and layers that are to be read.
func (p *Partition) scan(newer []cursor, from, to []byte, fn func(key, stored []byte) (more bool, err error)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cursors := append(newer, newGenCursor(p.filling, from, to))
	if p.flushing != nil {
		cursors = append(cursors, newGenCursor(p.flushing, from, to))
	}
	if !p.onDisk {
		return merge(cursors, fn)
	}
	upper := rowPrefix(p.num, kindData+1)
	if to != nil {
		upper = append(rowPrefix(p.num, kindData), to...)
	}
	it, err := p.engine.db.NewIter(&pebble.IterOptions{LowerBound: append(rowPrefix(p.num, kindData), from...), UpperBound: upper})
	if err != nil {
		return p.engine.fail(fmt.Errorf("statestore: %s/%d: %w", p.id.Store, p.id.Partition, err))
	}
	disk := &diskCursor{it: it, valid: it.First()}
	err = merge(append(cursors, disk), fn)
	if closeErr := it.Close(); closeErr != nil && err == nil {
		err = p.engine.fail(fmt.Errorf("statestore: %s/%d: %w", p.id.Store, p.id.Partition, closeErr))
	}
	return err
}
