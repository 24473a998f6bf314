package recordbatch

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// The sum of two pieces is that of both, however long they are.
func TestJoinedSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := make([]byte, rapid.IntRange(0, 1<<17).Draw(t, "bytes"))
		seed := rapid.Uint64().Draw(t, "seed")
		for rng, i := rand.New(rand.NewPCG(seed, 1)), 0; i < len(p); i++ {
			p[i] = byte(rng.Uint32())
		}
		at := rapid.IntRange(0, len(p)).Draw(t, "at")
		got := JoinSums(crc32.Checksum(p[:at], castagnoli), crc32.Checksum(p[at:], castagnoli), len(p)-at)
		if want := crc32.Checksum(p, castagnoli); got != want {
			t.Fatalf("%08x, want %08x", got, want)
		}
	})
	zeros := make([]byte, 1<<25+1<<17+3) // so long that all digits but one count
	sum := crc32.Checksum([]byte("a"), castagnoli)
	if got, want := JoinSums(sum, crc32.Checksum(zeros, castagnoli), len(zeros)), crc32.Update(sum, castagnoli, zeros); got != want {
		t.Errorf("%08x, want %08x", got, want)
	}
}

func BenchmarkJoinSums(b *testing.B) {
	sum := uint32(1)
	for b.Loop() {
		sum = JoinSums(sum, 12345, 11_000)
	}
}
