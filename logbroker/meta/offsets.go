package meta

import "encoding/binary"

// Offset returns the committed offset of a group in a partition.
func (s *Store) Offset(group, topic string, partition int32) (o Offset, ok bool, err error) {
	v, err := s.get(offsetKey(group, topic, partition))
	if err != nil || v == nil {
		return Offset{}, false, err
	}
	o, err = decodeOffset(topic, partition, v)
	return o, err == nil, err
}

// Offsets lists the committed offsets of a group by topic and partition.
func (s *Store) Offsets(group string) (out []Offset, err error) {
	err = s.scan(offsetPrefix(group), func(k, v []byte) error {
		topic, rest, err := cutName(k)
		if err != nil || len(rest) != 4 {
			return errKey
		}
		o, err := decodeOffset(topic, int32(binary.BigEndian.Uint32(rest)), v)
		out = append(out, o)
		return err
	})
	return out, err
}

// OffsetGroups lists the groups that have committed offsets, in key order.
func (s *Store) OffsetGroups() (out []string, err error) {
	err = s.scan([]byte{kindOffset}, func(k, _ []byte) error {
		group, _, _, err := splitOffsetKey(k)
		if err == nil && (len(out) == 0 || out[len(out)-1] != group) {
			out = append(out, group)
		}
		return err
	})
	return out, err
}

// Unstable tells whether an open transaction holds a pending offset of the
// group in the partition (KIP-447).
func (s *Store) Unstable(group, topic string, partition int32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending[pendingID{group, topic, partition}]) > 0
}

// HasPending tells whether any open transaction holds a pending offset of the
// group.
func (s *Store) HasPending(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.pending {
		if id.group == group {
			return true
		}
	}
	return false
}

// PendingGroups lists the groups with pending offsets; some of them twice.
func (s *Store) PendingGroups() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.pending {
		out = append(out, id.group)
	}
	return out
}

// pendingWhere lists the pending offsets that match.
func (s *Store) pendingWhere(match func(pendingID) bool) (out []PendingOffset) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, offsets := range s.pending {
		if !match(id) {
			continue
		}
		for producer, o := range offsets {
			out = append(out, PendingOffset{ProducerID: producer, Group: id.group, Offset: o})
		}
	}
	return out
}

// PendingOffsets lists the pending offsets of all open transactions by
// producer id.
func (s *Store) PendingOffsets() ([]PendingOffset, error) {
	return s.pendingUnder([]byte{kindPending})
}

func (s *Store) pendingUnder(prefix []byte) (out []PendingOffset, err error) {
	err = s.scan(prefix, func(k, v []byte) error {
		full := append(append([]byte(nil), prefix...), k...)
		if len(full) < 9 {
			return errKey
		}
		p := PendingOffset{ProducerID: int64(binary.BigEndian.Uint64(full[1:]))}
		group, topic, partition, err := splitOffsetKey(full[9:])
		if err != nil {
			return err
		}
		p.Group = group
		p.Offset, err = decodeOffset(topic, partition, v)
		out = append(out, p)
		return err
	})
	return out, err
}
