package meta

import (
	"encoding/binary"
	"fmt"
	"math"
)

// rowVersion opens the value of every row this package encodes.
const rowVersion = 1

// encoder appends fields: integers as varints, strings and bytes with their
// length before them.
type encoder struct{ buf []byte }

func newEncoder() *encoder         { return &encoder{buf: []byte{rowVersion}} }
func (e *encoder) int(v int64)     { e.buf = binary.AppendVarint(e.buf, v) }
func (e *encoder) uint(v uint64)   { e.buf = binary.AppendUvarint(e.buf, v) }
func (e *encoder) raw(p []byte)    { e.buf = append(e.buf, p...) }
func (e *encoder) string(s string) { e.uint(uint64(len(s))); e.buf = append(e.buf, s...) }
func (e *encoder) bool(v bool) {
	if v {
		e.buf = append(e.buf, 1)
		return
	}
	e.buf = append(e.buf, 0)
}

// decoder reads what encoder wrote. The first fault sticks; every later read
// returns zero. Lengths are checked against the bytes left before anything is
// allocated.
type decoder struct {
	buf []byte
	err error
}

func newDecoder(p []byte) *decoder {
	d := &decoder{buf: p}
	if len(p) == 0 || p[0] != rowVersion {
		d.err = fmt.Errorf("meta: row version is not %d", rowVersion)
		return d
	}
	d.buf = p[1:]
	return d
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("meta: corrupt row: %s", what)
	}
	d.buf = nil
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.buf)
	if n <= 0 {
		d.fail("integer")
		return 0
	}
	d.buf = d.buf[n:]
	return v
}

func (d *decoder) int32() int32 {
	v := d.int()
	if v < math.MinInt32 || v > math.MaxInt32 {
		d.fail("32-bit integer")
		return 0
	}
	return int32(v)
}

func (d *decoder) int16() int16 {
	v := d.int()
	if v < math.MinInt16 || v > math.MaxInt16 {
		d.fail("16-bit integer")
		return 0
	}
	return int16(v)
}

// count reads the number of elements that follow, each at least a byte long.
func (d *decoder) count() int {
	v, n := binary.Uvarint(d.buf)
	if n <= 0 || v > uint64(len(d.buf)-n) {
		d.fail("length")
		return 0
	}
	d.buf = d.buf[n:]
	return int(v)
}

func (d *decoder) string() string {
	n := d.count()
	if d.err != nil {
		return ""
	}
	s := string(d.buf[:n])
	d.buf = d.buf[n:]
	return s
}

func (d *decoder) raw(dst []byte) {
	if len(d.buf) < len(dst) {
		d.fail("fixed field")
		return
	}
	copy(dst, d.buf)
	d.buf = d.buf[len(dst):]
}

func (d *decoder) bool() bool {
	var b [1]byte
	d.raw(b[:])
	return b[0] != 0
}

// end checks that the row was read whole.
func (d *decoder) end() error {
	if d.err == nil && len(d.buf) > 0 {
		d.fail(fmt.Sprintf("%d bytes too many", len(d.buf)))
	}
	return d.err
}
