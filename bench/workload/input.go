package workload

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
)

// Sizes of a record, in bytes.
const (
	KeySize   = 16
	ValueSize = 84
)

// wordsPerLine and vocabulary describe the lines of the word count.
const (
	wordsPerLine = 10
	vocabulary   = 100_000
)

// firstTimestampMs is the time of the first record, 2020-01-01; records follow
// at recordsPerMs, so that event time is part of the seed.
const (
	firstTimestampMs = 1_577_836_800_000
	recordsPerMs     = 100
)

// Input is a seeded sequence of records; the same Input yields the same
// records every time it is walked.
type Input struct {
	Workload string
	Records  int64 // records; for wordcount the number of words
	Keys     int64
	Seed     uint64
}

// Lines is the number of records on the input topic.
func (in Input) Lines() int64 {
	if in.Workload == WordCount {
		return (in.Records + wordsPerLine - 1) / wordsPerLine
	}
	return in.Records
}

// Record is one generated record; its bytes are valid until the next.
type Record struct {
	Key, Value  []byte
	KeyIndex    int64
	TimestampMs int64
}

// Walk generates the records in order until fn returns false.
func (in Input) Walk(fn func(Record) bool) {
	if in.Workload == WordCount {
		in.walkLines(fn)
		return
	}
	rng := rand.New(rand.NewPCG(in.Seed, 1))
	key, value := make([]byte, KeySize), make([]byte, ValueSize)
	fillValue(value, in.Seed)
	for i := range in.Records {
		k := rng.Int64N(in.Keys)
		AppendKey(key[:0], k)
		binary.BigEndian.PutUint64(value, uint64(i))
		if !fn(Record{Key: key, Value: value, KeyIndex: k, TimestampMs: firstTimestampMs + i/recordsPerMs}) {
			return
		}
	}
}

func fillValue(value []byte, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	for i := range value {
		value[i] = byte(rng.Uint32())
	}
}

// AppendKey appends the key of an index: 16 bytes, spread over the key space.
func AppendKey(dst []byte, index int64) []byte {
	const odd = 0x9e3779b97f4a7c15 // 2^64 / golden ratio: distinct for distinct indexes
	mixed := uint64(index) * odd
	dst = binary.BigEndian.AppendUint64(dst, mixed)
	return binary.BigEndian.AppendUint64(dst, uint64(index))
}

// KeyIndex is the inverse of AppendKey.
func KeyIndex(key []byte) (int64, error) {
	if len(key) != KeySize {
		return 0, fmt.Errorf("key of %d bytes, not %d", len(key), KeySize)
	}
	i := int64(binary.BigEndian.Uint64(key[8:]))
	if binary.BigEndian.Uint64(key) != binary.BigEndian.Uint64(AppendKey(nil, i)) {
		return 0, fmt.Errorf("key %x was not generated here", key)
	}
	return i, nil
}

// walkLines generates lines of ten words; word ranks follow Zipf's law with
// exponent 1 over the vocabulary.
func (in Input) walkLines(fn func(Record) bool) {
	rng := rand.New(rand.NewPCG(in.Seed, 3))
	cdf := zipfCDF(vocabulary)
	line := make([]byte, 0, 128)
	left := in.Records
	for i := range in.Lines() {
		line = line[:0]
		for w := range min(left, wordsPerLine) {
			if w > 0 {
				line = append(line, ' ')
			}
			line = AppendWord(line, int64(sort.SearchFloat64s(cdf, rng.Float64())))
		}
		left -= wordsPerLine
		if !fn(Record{Value: line, TimestampMs: firstTimestampMs + i/recordsPerMs}) {
			return
		}
	}
}

// zipfCDF is the cumulative distribution of ranks 0..n-1 with weight 1/(rank+1).
func zipfCDF(n int) []float64 {
	cdf := make([]float64, n)
	sum := 0.0
	for i := range cdf {
		sum += 1 / float64(i+1)
		cdf[i] = sum
	}
	for i := range cdf {
		cdf[i] /= sum
	}
	cdf[n-1] = math.Nextafter(1, 2)
	return cdf
}

// AppendWord appends the word of a rank: letters only, distinct for distinct
// ranks.
func AppendWord(dst []byte, rank int64) []byte {
	const syllables = "bacadafagahajakalamanapa"
	dst = append(dst, 'w')
	for n := rank + 1; n > 0; n /= 12 {
		s := n % 12 * 2
		dst = append(dst, syllables[s], syllables[s+1])
	}
	return dst
}
