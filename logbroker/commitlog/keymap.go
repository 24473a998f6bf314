package commitlog

import "hash/maphash"

// keyMap maps keys to the offset of their newest record. Keys are told apart by
// 128 bits of hash under seeds of this process: whoever writes them cannot
// choose two that collide.
type keyMap struct {
	seeds [2]maphash.Seed
	slots []keySlot
	used  int
}

type keySlot struct {
	hash [2]uint64
	next int64 // the offset after the record; 0: empty
}

const keySlotSize = 24

// slotsFor is how many slots a map has for so many keys, which need not all fit: as many
// as about so many bytes are, a power of two.
func slotsFor(keys, memoryBytes int64) int {
	slots := 16
	for int64(slots/8*7) < keys && int64(slots)*2*keySlotSize <= memoryBytes {
		slots *= 2
	}
	return slots
}

func newKeyMap(slots int) *keyMap {
	return &keyMap{seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, slots: make([]keySlot, slots)}
}

func (m *keyMap) reset() {
	clear(m.slots)
	m.used = 0
}

func (m *keyMap) slot(key []byte) *keySlot {
	hash := [2]uint64{maphash.Bytes(m.seeds[0], key), maphash.Bytes(m.seeds[1], key)}
	mask := uint64(len(m.slots) - 1)
	for i := hash[0] & mask; ; i = (i + 1) & mask {
		if s := &m.slots[i]; s.next == 0 || s.hash == hash {
			s.hash = hash
			return s
		}
	}
}

// put notes the newest offset of a key; false if there is no room for it.
func (m *keyMap) put(key []byte, offset int64) bool {
	s := m.slot(key)
	if s.next == 0 {
		if m.used >= len(m.slots)/8*7 {
			return false
		}
		m.used++
	}
	s.next = offset + 1
	return true
}

// get gives the newest offset of a key, -1 if it is not there.
func (m *keyMap) get(key []byte) int64 { return m.slot(key).next - 1 }
