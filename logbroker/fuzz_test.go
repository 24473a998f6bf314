package logbroker

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// mutate changes some of the bytes of a frame behind its header, or how many there
// are.
func mutated(rng *rand.Rand, frame []byte) []byte {
	out := append([]byte(nil), frame...)
	for range 1 + rng.IntN(4) {
		const header = 11
		if len(out) <= header {
			return append(out, byte(rng.Uint32()))
		}
		at := header + rng.IntN(len(out)-header)
		switch rng.IntN(6) {
		case 0:
			out[at] = byte(rng.Uint32())
		case 1:
			out[at] ^= 1 << rng.IntN(8)
		case 2:
			out = out[:at]
		case 3:
			out = append(out[:at:at], append([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, out[at:]...)...)
		case 4:
			if at+4 <= len(out) {
				binary.BigEndian.PutUint32(out[at:], rng.Uint32()>>rng.IntN(32))
			}
		case 5:
			out[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[rng.IntN(5)]
		}
	}
	return out
}

// TestMutatedRequests sends every version of every request through a socket, with
// random content, whole and spoiled: each is answered or ends its connection, in
// time and in bounded memory (LEVADA_SEEDS for more).
func TestMutatedRequests(t *testing.T) {
	d := newDoorstep(t)
	for seed := range uint64(seeds(t, 1)) {
		for key, h := range d.b.handlers {
			for version := h.min; version <= h.max; version++ {
				rng := rand.New(rand.NewPCG(seed, uint64(key)<<16|uint64(version)))
				req := kmsg.RequestForKey(key)
				req.SetVersion(version)
				fill(rng, reflect.ValueOf(req).Elem())
				frame := frameOf(req)
				message := framed(frame)
				for range rng.IntN(3) {
					message = append(message, framed(mutated(rng, frame))...)
				}
				door := int(seed+uint64(key)) % doors
				if d.exchange(t, door, message, true); t.Failed() {
					t.Fatalf("seed %d: %s", seed, nameOf(req))
				}
				d.renew(t)
			}
		}
		for _, message := range scripts() {
			d.exchange(t, saslDoor, message, true)
			d.exchange(t, saslDoor, message[:rand.New(rand.NewPCG(seed, 0)).IntN(len(message))], true)
		}
	}
}

// FuzzConnection sends any bytes over sockets, as frames or as they are, to a plain
// listener, one with SASL and one with TLS.
func FuzzConnection(f *testing.F) {
	d := newDoorstep(f)
	for key, h := range d.b.handlers {
		for version := h.min; version <= h.max; version++ {
			rng := rand.New(rand.NewPCG(2, uint64(key)<<16|uint64(version)))
			req := kmsg.RequestForKey(key)
			req.SetVersion(version)
			fill(rng, reflect.ValueOf(req).Elem())
			f.Add(uint8(int(key)%doors), uint8(1), frameOf(req), mutated(rng, frameOf(req)))
		}
	}
	for _, message := range scripts() {
		f.Add(uint8(saslDoor), uint8(0), message, []byte(nil))
	}
	f.Add(uint8(tlsDoor), uint8(0), []byte("GET / HTTP/1.1\r\n\r\n"), []byte{22, 3, 1, 0xff, 0xff})
	f.Add(uint8(plainDoor), uint8(0), []byte{0xff, 0xff, 0xff, 0xff}, []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 3})
	f.Fuzz(func(t *testing.T, door, form uint8, first, second []byte) {
		message := append(append([]byte(nil), first...), second...)
		if form&1 != 0 {
			message = append(framed(first), framed(second)...)
		}
		d.exchange(t, int(door)%doors, message, form&2 == 0)
		d.renew(t)
	})
}
