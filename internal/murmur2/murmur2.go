// Package murmur2 is the hash by which Kafka's producers choose the partition
// of a key, so that records written by any Kafka client and by Levada meet.
package murmur2

import "encoding/binary"

const (
	seed uint32 = 0x9747b28c
	m    uint32 = 0x5bd1e995
	r           = 24
)

// Sum is MurmurHash2, 32 bit, with the seed of Kafka's Java client
// (org.apache.kafka.common.utils.Utils.murmur2).
func Sum(b []byte) uint32 {
	h := seed ^ uint32(len(b))
	for len(b) >= 4 {
		k := binary.LittleEndian.Uint32(b)
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		b = b[4:]
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

// Partition is the partition of a key among n partitions.
func Partition(key []byte, n int32) int32 {
	return int32(Sum(key)&0x7fffffff) % n
}
