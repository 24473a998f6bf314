package statestore

import (
	"bytes"
	"unsafe"
)

// inlineKey is the longest key that lies in the entry itself.
const inlineKey = 24

// Entry is a value of a store, live and typed.
type Entry[V any] struct {
	Value V
	// Timestamp is the value's time in ms.
	Timestamp int64
	// Present is false if the key has no value.
	Present bool
}

// tableEntry is a key and its value. Entries of values without pointers hold
// none, so the garbage collector does not walk the table.
type tableEntry[V any] struct {
	Entry[V]
	hash   uint32
	keyLen uint16 // longKey: the key is in table.long
	flags  uint8
	inline [inlineKey]byte
}

const (
	longKey = 1<<16 - 1

	used   = 1 << 0
	dirty  = 1 << 1 // changed since the last Prepare
	pinned = 1 << 2 // prepared and not committed
	recent = 1 << 3 // used since the clock's hand passed
)

const pageEntries = 1024

// table is layer 1: open addressing over entry numbers, entries in pages that
// never move.
type table[V any] struct {
	index []uint64 // hash<<32 | entry number + 1, power of two
	pages []*[pageEntries]tableEntry[V]
	n     uint32            // entries ever made
	free  []uint32          // of those, the free ones
	live  int               // entries in use
	hand  uint32            // of the clock
	long  map[uint32][]byte // keys that do not fit inline, by entry
}

func (t *table[V]) entry(n uint32) *tableEntry[V] {
	return &t.pages[n/pageEntries][n%pageEntries]
}

func (t *table[V]) key(n uint32, e *tableEntry[V]) []byte {
	if e.keyLen == longKey {
		return t.long[n]
	}
	return e.inline[:e.keyLen:e.keyLen]
}

// find returns the number of a key's entry.
func (t *table[V]) find(hash uint64, key []byte) (n uint32, e *tableEntry[V]) {
	if len(t.index) == 0 {
		return 0, nil
	}
	mask := uint32(len(t.index) - 1)
	h := uint32(hash)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := t.index[i]
		if slot == 0 {
			return 0, nil
		}
		if uint32(slot>>32) != h {
			continue
		}
		n := uint32(slot) - 1
		e := t.entry(n)
		if bytes.Equal(t.key(n, e), key) {
			return n, e
		}
	}
}

// insert makes an entry for a key that has none.
func (t *table[V]) insert(hash uint64, key []byte) (uint32, *tableEntry[V]) {
	if (t.live+1)*4 > len(t.index)*3 {
		t.grow()
	}
	var n uint32
	if last := len(t.free) - 1; last >= 0 {
		n = t.free[last]
		t.free = t.free[:last]
	} else {
		n = t.n
		t.n++
		if int(n/pageEntries) == len(t.pages) {
			t.pages = append(t.pages, new([pageEntries]tableEntry[V]))
		}
	}
	e := t.entry(n)
	e.hash, e.flags = uint32(hash), used
	if len(key) <= inlineKey {
		e.keyLen = uint16(len(key))
		copy(e.inline[:], key)
	} else {
		e.keyLen = longKey
		if t.long == nil {
			t.long = map[uint32][]byte{}
		}
		t.long[n] = append([]byte(nil), key...)
	}
	t.link(n, e.hash)
	t.live++
	return n, e
}

func (t *table[V]) link(n, hash uint32) {
	mask := uint32(len(t.index) - 1)
	i := hash & mask
	for t.index[i] != 0 {
		i = (i + 1) & mask
	}
	t.index[i] = uint64(hash)<<32 | uint64(n+1)
}

func (t *table[V]) grow() {
	t.index = make([]uint64, max(64, 2*len(t.index)))
	for n := range t.n {
		if e := t.entry(n); e.flags&used != 0 {
			t.link(n, e.hash)
		}
	}
}

// remove forgets an entry: later entries of its run move back over the gap.
func (t *table[V]) remove(n uint32) {
	e := t.entry(n)
	mask := uint32(len(t.index) - 1)
	i := e.hash & mask
	for uint32(t.index[i]) != n+1 {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		slot := t.index[j]
		if slot == 0 {
			break
		}
		home := uint32(slot>>32) & mask
		if (j-home)&mask >= (j-i)&mask {
			t.index[i] = slot
			i = j
		}
	}
	t.index[i] = 0
	if e.keyLen == longKey {
		delete(t.long, n)
	}
	*e = tableEntry[V]{}
	t.free = append(t.free, n)
	t.live--
}

// evict drops clean entries that were not used lately until the table holds at
// most limit entries, or all have been looked at twice.
func (t *table[V]) evict(limit int) {
	for steps := 2 * t.n; steps > 0 && t.live > limit; steps-- {
		n := t.hand
		t.hand = (t.hand + 1) % t.n
		e := t.entry(n)
		switch {
		case e.flags&used == 0 || e.flags&(dirty|pinned) != 0:
		case e.flags&recent != 0:
			e.flags &^= recent
		default:
			t.remove(n)
		}
	}
}

// entryBytes is about what an entry costs, without what its value points to.
func (t *table[V]) entryBytes() int64 {
	return int64(unsafe.Sizeof(tableEntry[V]{})) + 12
}
