package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
)

// Expectation is the independent recomputation of a workload's result.
type Expectation interface {
	// Output takes a committed record of the output topic, in the order of its
	// partition.
	Output(partition int32, key, value []byte) error
	// Finish tells whether all is there.
	Finish() error
}

// Expect recomputes the result of a workload over its input; every tells that
// each update is emitted, partition where a key's output lies.
func Expect(in Input, every bool, partitions int32, partition func(key []byte) int32) Expectation {
	if in.Workload == PassThrough {
		return expectSame(in, partitions, partition)
	}
	return expectCounts(in, every, partition)
}

// sameRecords expects every input record once, in order, per partition: it
// compares a running hash and a count.
type sameRecords struct {
	seed      maphash.Seed
	want, got []digest
}

type digest struct {
	n   int64
	sum uint64
}

func (d *digest) add(seed maphash.Seed, key, value []byte) {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:], d.sum)
	binary.BigEndian.PutUint64(b[8:], maphash.Bytes(seed, key))
	binary.BigEndian.PutUint64(b[16:], maphash.Bytes(seed, value))
	d.sum = maphash.Bytes(seed, b[:])
	d.n++
}

func expectSame(in Input, partitions int32, partition func([]byte) int32) *sameRecords {
	e := &sameRecords{seed: maphash.MakeSeed(), want: make([]digest, partitions), got: make([]digest, partitions)}
	in.Walk(func(r Record) bool {
		e.want[partition(r.Key)].add(e.seed, r.Key, r.Value)
		return true
	})
	return e
}

func (e *sameRecords) Output(p int32, key, value []byte) error {
	e.got[p].add(e.seed, key, value)
	return nil
}

func (e *sameRecords) Finish() error {
	for p := range e.want {
		if e.want[p] != e.got[p] {
			return fmt.Errorf("partition %d: %d records expected, %d read, hashes %x and %x", p, e.want[p].n, e.got[p].n, e.want[p].sum, e.got[p].sum)
		}
	}
	return nil
}

// counts expects that the counts of a key are in its partition, grow, by one if
// every update is emitted, and end at the number of its records.
type counts struct {
	every     bool
	partition func(key []byte) int32
	want      map[string]int64
	last      map[string]int64
}

func expectCounts(in Input, every bool, partition func([]byte) int32) *counts {
	e := &counts{every: every, partition: partition, want: map[string]int64{}, last: map[string]int64{}}
	in.Walk(func(r Record) bool {
		if in.Workload != WordCount {
			e.want[string(r.Key)]++
			return true
		}
		start := 0
		for i := 0; i <= len(r.Value); i++ {
			if i == len(r.Value) || r.Value[i] == ' ' {
				e.want[string(r.Value[start:i])]++
				start = i + 1
			}
		}
		return true
	})
	return e
}

func (e *counts) Output(partition int32, key, value []byte) error {
	if len(value) != 8 {
		return fmt.Errorf("count of %q has %d bytes, not 8", key, len(value))
	}
	n := int64(binary.BigEndian.Uint64(value))
	if want := e.partition(key); partition != want {
		return fmt.Errorf("count of %q is in partition %d, not %d", key, partition, want)
	}
	if prev := e.last[string(key)]; n <= prev || e.every && n != prev+1 {
		return fmt.Errorf("count of %q went from %d to %d", key, prev, n)
	}
	e.last[string(key)] = n
	return nil
}

func (e *counts) Finish() error {
	var errs []error
	for k, want := range e.want {
		if got := e.last[k]; got != want && len(errs) < 10 {
			errs = append(errs, fmt.Errorf("count of %q is %d, want %d", k, got, want))
		}
	}
	if len(e.last) != len(e.want) {
		errs = append(errs, fmt.Errorf("%d keys counted, want %d", len(e.last), len(e.want)))
	}
	return errors.Join(errs...)
}
