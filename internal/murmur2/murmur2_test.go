package murmur2

import "testing"

// The sums are those of Kafka's own test of its hash (UtilsTest.testMurmur2).
func TestSum(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(Sum([]byte(key))); got != want {
			t.Errorf("Sum(%q) = %d, want %d", key, got, want)
		}
	}
}

func TestPartitionIsInRange(t *testing.T) {
	for i := range 256 {
		if p := Partition([]byte{byte(i), byte(i * 7)}, 5); p < 0 || p >= 5 {
			t.Fatalf("Partition of %d = %d", i, p)
		}
	}
}
