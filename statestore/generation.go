package statestore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"slices"
)

// hashSeed is the process's seed: hashes never leave it, and no order depends
// on them.
var hashSeed = maphash.MakeSeed()

func hashKey(key []byte) uint64 { return maphash.Bytes(hashSeed, key) }

// generation is layer 2: the newest stored form per key, committed and not on
// disk. Entries hold no pointers, so the garbage collector does not walk them.
type generation struct {
	index   []uint32 // entry number + 1 by hash, open addressing, power of two
	entries []genEntry
	chunks  [][]byte
	bytes   int64
	order   []uint32 // entries by key; valid while its length is that of entries
}

// genEntry is a key and its stored form, next to each other in a chunk.
type genEntry struct {
	hash   uint32
	chunk  uint32
	off    uint32
	keyLen uint32
	// storedLen is -1 for a deletion.
	storedLen int32
}

const (
	chunkBytes    = 256 << 10
	genEntryBytes = 20 + 8 // with its part of the index
)

func (g *generation) key(e *genEntry) []byte {
	return g.chunks[e.chunk][e.off : e.off+e.keyLen : e.off+e.keyLen]
}

// stored is nil for a deletion.
func (g *generation) stored(e *genEntry) []byte {
	if e.storedLen < 0 {
		return nil
	}
	from := e.off + e.keyLen
	to := from + uint32(e.storedLen)
	return g.chunks[e.chunk][from:to:to]
}

func (g *generation) find(hash uint64, key []byte) *genEntry {
	if len(g.index) == 0 {
		return nil
	}
	mask := uint32(len(g.index) - 1)
	for i := uint32(hash) & mask; ; i = (i + 1) & mask {
		n := g.index[i]
		if n == 0 {
			return nil
		}
		e := &g.entries[n-1]
		if e.hash == uint32(hash) && bytes.Equal(g.key(e), key) {
			return e
		}
	}
}

// put sets the newest stored form of a key; nil deletes.
func (g *generation) put(hash uint64, key, stored []byte) {
	if e := g.find(hash, key); e != nil {
		if e.storedLen >= 0 && int(e.storedLen) == len(stored) && stored != nil {
			copy(g.stored(e), stored)
			return
		}
		g.place(e, key, stored)
		return
	}
	if (len(g.entries)+1)*4 > len(g.index)*3 {
		g.grow()
	}
	g.entries = append(g.entries, genEntry{hash: uint32(hash)})
	g.place(&g.entries[len(g.entries)-1], key, stored)
	g.insertIndex(uint32(len(g.entries)))
	g.bytes += genEntryBytes
	g.order = nil
}

// place writes key and stored form to the end of the last chunk.
func (g *generation) place(e *genEntry, key, stored []byte) {
	need := len(key) + len(stored)
	last := len(g.chunks) - 1
	if last < 0 || cap(g.chunks[last])-len(g.chunks[last]) < need {
		g.chunks = append(g.chunks, make([]byte, 0, max(chunkBytes, need)))
		last++
	}
	c := g.chunks[last]
	e.chunk, e.off, e.keyLen, e.storedLen = uint32(last), uint32(len(c)), uint32(len(key)), int32(len(stored))
	if stored == nil {
		e.storedLen = -1
	}
	g.chunks[last] = append(append(c, key...), stored...)
	g.bytes += int64(need)
}

func (g *generation) insertIndex(n uint32) {
	mask := uint32(len(g.index) - 1)
	i := g.entries[n-1].hash & mask
	for g.index[i] != 0 {
		i = (i + 1) & mask
	}
	g.index[i] = n
}

func (g *generation) grow() {
	g.index = make([]uint32, max(64, 2*len(g.index)))
	for n := range g.entries {
		g.insertIndex(uint32(n + 1))
	}
}

// sorted returns the entries in the order of their keys.
func (g *generation) sorted() []uint32 {
	if len(g.order) == len(g.entries) {
		return g.order
	}
	type item struct {
		prefix uint64
		n      uint32
	}
	items := make([]item, len(g.entries))
	for i := range g.entries {
		items[i] = item{keyPrefix(g.key(&g.entries[i])), uint32(i)}
	}
	slices.SortFunc(items, func(a, b item) int {
		if c := cmp.Compare(a.prefix, b.prefix); c != 0 {
			return c
		}
		return bytes.Compare(g.key(&g.entries[a.n]), g.key(&g.entries[b.n]))
	})
	g.order = make([]uint32, len(items))
	for i, it := range items {
		g.order[i] = it.n
	}
	return g.order
}

// keyPrefix is the first eight bytes of a key as a number of the same order.
func keyPrefix(key []byte) uint64 {
	if len(key) >= 8 {
		return binary.BigEndian.Uint64(key)
	}
	var b [8]byte
	copy(b[:], key)
	return binary.BigEndian.Uint64(b[:])
}
