package statestore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/dsl/serde"
)

// BenchmarkCountLoop is the life of a count by key: updates, a commit every
// 200,000 of them, and the flushes that follow.
func BenchmarkCountLoop(b *testing.B) {
	for _, keys := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			e, err := Open(Config{Dir: b.TempDir(), FS: vfs.Default})
			if err != nil {
				b.Fatal(err)
			}
			p, err := e.Open(ID{"bench", "counts", 0})
			if err != nil {
				b.Fatal(err)
			}
			s := NewKeyValue("counts", p, serde.Int64{})
			var cut Cut
			rng := rand.New(rand.NewPCG(1, 2))
			key := make([]byte, 16)
			step := func(n int) {
				binary.BigEndian.PutUint64(key, uint64(n)*0x9e3779b97f4a7c15)
				binary.BigEndian.PutUint64(key[8:], uint64(n))
				entry, err := s.Update(key)
				if err != nil {
					b.Fatal(err)
				}
				entry.Value++
				entry.Present = true
			}
			commit := func() {
				if err := s.Prepare(func(Change) error { cut.Offset++; return nil }); err != nil {
					b.Fatal(err)
				}
				s.Committed(cut)
			}
			for n := range keys {
				step(n)
			}
			commit()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				step(rng.IntN(keys))
				if i%200_000 == 199_999 {
					commit()
				}
			}
			commit()
			if err := e.Flush(); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := p.Close(); err != nil {
				b.Fatal(err)
			}
			if err := e.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkUpdate is one hit in the table.
func BenchmarkUpdate(b *testing.B) {
	for _, keys := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			e, err := OpenMemory()
			if err != nil {
				b.Fatal(err)
			}
			p, err := e.Open(ID{"bench", "counts", 0})
			if err != nil {
				b.Fatal(err)
			}
			s := NewKeyValue("counts", p, serde.Int64{})
			rng := rand.New(rand.NewPCG(1, 2))
			key := make([]byte, 16)
			b.ReportAllocs()
			for range b.N {
				n := rng.IntN(keys)
				binary.BigEndian.PutUint64(key, uint64(n)*0x9e3779b97f4a7c15)
				binary.BigEndian.PutUint64(key[8:], uint64(n))
				entry, err := s.Update(key)
				if err != nil {
					b.Fatal(err)
				}
				entry.Value++
				entry.Present = true
			}
		})
	}
}
