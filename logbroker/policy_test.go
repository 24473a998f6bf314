package logbroker

import (
	"math"
	"testing"
	"time"
)

// TestPoliciesOfConfigs: a segment of a compacted topic, and of no other, is sealed when its
// oldest record has to be compacted, if not before; periods that are longer than Go's are
// as long as those.
func TestPoliciesOfConfigs(t *testing.T) {
	const week, longest = 7 * 24 * time.Hour, math.MaxInt64 / int64(time.Millisecond) * int64(time.Millisecond)
	w := newWorkbench(t)
	for name, test := range map[string]struct {
		configs map[string]string
		age     time.Duration
		lag     time.Duration
		keep    time.Duration
	}{
		"none":                    {nil, week, 0, week},
		"not compacted":           {map[string]string{"max.compaction.lag.ms": "1000"}, week, time.Second, week},
		"compacted":               {map[string]string{"max.compaction.lag.ms": "1000", "cleanup.policy": "compact"}, time.Second, time.Second, week},
		"compacted and deleted":   {map[string]string{"max.compaction.lag.ms": "1000", "cleanup.policy": "delete,compact"}, time.Second, time.Second, week},
		"compacted late":          {map[string]string{"max.compaction.lag.ms": "999999999", "cleanup.policy": "compact"}, week, 999_999_999 * time.Millisecond, week},
		"compacted without haste": {map[string]string{"cleanup.policy": "compact"}, week, 0, week},
		"for ever": {
			map[string]string{"segment.ms": "9223372036854775807", "retention.ms": "9223372036854775807", "max.compaction.lag.ms": "9223372036854775806"},
			time.Duration(longest), time.Duration(longest), time.Duration(longest),
		},
	} {
		p := w.policyOf(test.configs)
		if p.segmentAge != test.age || p.compaction.MaxLag != test.lag || p.retention.Age != test.keep {
			t.Errorf("%s: segments of %v, compacted after %v, kept for %v; want %v, %v, %v",
				name, p.segmentAge, p.compaction.MaxLag, p.retention.Age, test.age, test.lag, test.keep)
		}
	}
}
