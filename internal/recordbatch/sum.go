package recordbatch

import "hash/crc32"

// JoinSums is the CRC-32C of two pieces one after the other, of which the second has so
// many bytes, less than 2^32: the sum of the first, times x^(8*bytes), and that of the
// second (Mark Adler, zlib's crc32_combine). Polynomials are kept as the CRC is: the
// coefficient of x^0 in the highest bit.
func JoinSums(first, second uint32, bytes int) uint32 {
	for i := range shifts {
		if digit := byte(bytes >> (8 * i)); digit != 0 {
			first = multiply(shifts[i][digit], first)
		}
	}
	return first ^ second
}

// shifts[i][n] is x^(8*n*256^i) modulo the polynomial of Castagnoli.
var shifts = func() (t [4][256]uint32) {
	step := uint32(1) << (31 - 8) // x^8
	for i := range t {
		t[i][0] = 1 << 31
		for n := 1; n < 256; n++ {
			t[i][n] = multiply(t[i][n-1], step)
		}
		step = multiply(t[i][255], step)
	}
	return t
}()

// multiply gives a times b modulo the polynomial.
func multiply(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		product ^= b & uint32(int32(a)>>31)
		b = b>>1 ^ crc32.Castagnoli&-(b&1)
	}
	return product
}
