package meta

import (
	"encoding/binary"
	"errors"
)

// The first byte of a key names the kind of the row.
const (
	kindSystem   = 's'
	kindTopic    = 't'
	kindDeleted  = 'x'
	kindLogStart = 'l'
	kindTxn      = 'i'
	kindDecision = 'd'
	kindGroup    = 'g'
	kindOffset   = 'o'
	kindPending  = 'p'
	kindSetting  = 'c'
)

var errKey = errors.New("meta: corrupt key")

func nameKey(kind byte, name string) []byte { return append([]byte{kind}, name...) }

func idKey(kind byte, id TopicID) []byte { return append([]byte{kind}, id[:]...) }

func logStartKey(p Partition) []byte {
	return binary.BigEndian.AppendUint32(idKey(kindLogStart, p.Topic), uint32(p.Index))
}

func decisionKey(producerID int64, epoch int16, counter int64) []byte {
	k := binary.BigEndian.AppendUint64([]byte{kindDecision}, uint64(producerID))
	k = binary.BigEndian.AppendUint16(k, uint16(epoch))
	return binary.BigEndian.AppendUint64(k, uint64(counter))
}

// appendName writes a string with its length before it, so that no group name
// is the prefix of another's key.
func appendName(k []byte, s string) []byte {
	k = binary.BigEndian.AppendUint16(k, uint16(len(s)))
	return append(k, s...)
}

func cutName(k []byte) (name string, rest []byte, err error) {
	if len(k) < 2 {
		return "", nil, errKey
	}
	n := int(binary.BigEndian.Uint16(k))
	if len(k)-2 < n {
		return "", nil, errKey
	}
	return string(k[2 : 2+n]), k[2+n:], nil
}

func offsetPrefix(group string) []byte { return appendName([]byte{kindOffset}, group) }

func offsetKey(group, topic string, partition int32) []byte {
	return binary.BigEndian.AppendUint32(appendName(offsetPrefix(group), topic), uint32(partition))
}

func pendingPrefix(producerID int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kindPending}, uint64(producerID))
}

func pendingKey(producerID int64, group, topic string, partition int32) []byte {
	k := appendName(appendName(pendingPrefix(producerID), group), topic)
	return binary.BigEndian.AppendUint32(k, uint32(partition))
}

// splitOffsetKey reads group, topic and partition from a key whose kind byte
// (and producer id) is cut off.
func splitOffsetKey(k []byte) (group, topic string, partition int32, err error) {
	if group, k, err = cutName(k); err != nil {
		return "", "", 0, err
	}
	if topic, k, err = cutName(k); err != nil {
		return "", "", 0, err
	}
	if len(k) != 4 {
		return "", "", 0, errKey
	}
	return group, topic, int32(binary.BigEndian.Uint32(k)), nil
}

// upperBound is the first key after all that start with prefix.
func upperBound(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
