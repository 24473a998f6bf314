package operators

import (
	"github.com/levada/levada/statestore"
)

const (
	// chunkBytes is how much memory small values share. A value that the user
	// keeps keeps its chunk.
	chunkBytes = 8 << 10
	// maxSharedBytes is the size above which a value gets memory of its own.
	maxSharedBytes = 1 << 10
)

// sharedDecoder is serde.SharedDecoder, seen from here.
type sharedDecoder[T any] interface {
	DecodeShared(b []byte) T
}

// decoder reads keys or values of a source.
type decoder[T any] struct {
	codec  statestore.Codec[T]
	shared sharedDecoder[T] // nil: every value is decoded into memory of its own
	skip   bool             // nobody reads the value, and any bytes are good
	isNil  bool             // T can be nil
	chunk  []byte
}

// newDecoder chooses how to read; without a codec nothing is read. Values that a store keeps get their own
// memory, so that the store does not keep a chunk for each.
func newDecoder[T any](c statestore.Codec[T], reads, keeps bool) decoder[T] {
	d := decoder[T]{codec: c, isNil: canBeNil[T](), skip: c == nil}
	if s, ok := c.(sharedDecoder[T]); ok {
		d.skip = !reads
		if !keeps {
			d.shared = s
		}
	}
	return d
}

// decode reads b, which is not nil. It sets null if the bytes stand for nil.
func (d *decoder[T]) decode(b []byte, v *T, null *bool) error {
	*null = false
	if d.skip {
		return nil
	}
	if d.shared != nil && len(b) <= maxSharedBytes {
		if cap(d.chunk)-len(d.chunk) < len(b) {
			d.chunk = make([]byte, 0, chunkBytes)
		}
		start := len(d.chunk)
		d.chunk = append(d.chunk, b...)
		*v = d.shared.DecodeShared(d.chunk[start:len(d.chunk):len(d.chunk)])
		return nil
	}
	decoded, err := d.codec.Decode(b)
	if err != nil {
		return err
	}
	*v = decoded
	*null = d.isNil && isNil(v)
	return nil
}

// encoder writes keys or values into a buffer of its own.
type encoder[T any] struct {
	codec statestore.Codec[T]
	buf   []byte
}

func newEncoder[T any](c statestore.Codec[T]) encoder[T] {
	return encoder[T]{codec: c, buf: make([]byte, 0, 64)}
}

// encode returns the form of v, never nil, valid until the next call.
func (e *encoder[T]) encode(v T) ([]byte, error) {
	b, err := e.codec.Append(e.buf[:0], v)
	if err != nil {
		return nil, err
	}
	if b == nil {
		b = e.buf[:0]
	}
	e.buf = b
	return b, nil
}
