package brokerload

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// Latency is how long records took from the moment they were due to their
// acknowledgement, in milliseconds.
type Latency struct {
	Rate   float64 `json:"rate"` // records a second that were due
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	P999   float64 `json:"p999_ms"`
	Max    float64 `json:"max_ms"`
	Result         // of the same run
}

// MeasureLatency writes records at a fixed rate, without lingering, whether or not
// the broker keeps up: what it delays is counted from the schedule. It collects its
// garbage only beyond 2 GiB: what a client takes from a broker on the same machine
// would count as the broker's delay.
func MeasureLatency(ctx context.Context, l Load, rate float64, length time.Duration) (Latency, error) {
	if rate < 1 || rate > maxRate || length <= 0 || length > time.Hour {
		return Latency{}, fmt.Errorf("%v records/s for %v: use 1 to %d records/s and at most an hour", rate, length, maxRate)
	}
	l.Records = max(1, int64(rate*length.Seconds()))
	l, err := l.withDefaults()
	if err != nil {
		return Latency{}, err
	}
	defer withoutCollection(l.Records)()
	run := map[Client]func(context.Context, Load, float64) ([]time.Duration, Result, error){Encoded: paceEncoded, Franz: paceFranz}[l.Client]
	took, result, err := run(ctx, l, rate)
	if err != nil {
		return Latency{}, fmt.Errorf("latency of %s: %w", l.describe(), err)
	}
	slices.Sort(took)
	return Latency{
		Rate: rate, P50: quantile(took, 0.5), P99: quantile(took, 0.99), P999: quantile(took, 0.999), Max: quantile(took, 1), Result: result,
	}, nil
}

// due is when the i-th record of a schedule is due, from its beginning.
func due(i int64, rate float64) time.Duration {
	return time.Duration(float64(i) / rate * float64(time.Second))
}

// garbageBytes is how much memory the client of a latency run may take before it collects
// garbage, which would stop it for milliseconds, several times a second.
const garbageBytes = 2 << 30

// withoutCollection has garbage collected only where the memory grows beyond garbageBytes
// and the time of each record, until the function that it returns is called.
func withoutCollection(records int64) (restore func()) {
	runtime.GC()
	percent, limit := debug.SetGCPercent(-1), debug.SetMemoryLimit(garbageBytes+8*records)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}
