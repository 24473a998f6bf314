package commitlog

import (
	"fmt"
	"math"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestMemoryOfCompactionIsOfItsKeys: as many slots as the keys of a log can need are taken,
// however much memory may be used, and no more than that is.
func TestMemoryOfCompactionIsOfItsKeys(t *testing.T) {
	for _, c := range []struct {
		keys, memory int64
		want         int
	}{
		{0, 1 << 30, 16},
		{14, 1 << 30, 16},
		{15, 1 << 30, 32},
		{1 << 40, 0, 16},
		{1 << 40, 32*keySlotSize - 1, 16},
		{1 << 40, 32 * keySlotSize, 32},
		{math.MaxInt64, NewCompactor(math.MaxInt64).memory, 1 << 26},
	} {
		if got := slotsFor(c.keys, c.memory); got != c.want {
			t.Errorf("%d keys in %d bytes: %d slots, want %d", c.keys, c.memory, got, c.want)
		}
	}
	c := NewCompactor(math.MaxInt64)
	for _, records := range []int{10, 100, 20} {
		cfg := testConfig(vfs.NewMem())
		cfg.SegmentBytes = 1
		l := mustOpen(t, cfg)
		for i := range records {
			mustAppend(t, l, source{}, fmt.Sprint(i))
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Compact(c, Compaction{}); err != nil {
			t.Fatal(err)
		}
		if n := len(c.keys.slots); n < records || n > 256 {
			t.Errorf("%d slots for %d records", n, records)
		}
	}
}
