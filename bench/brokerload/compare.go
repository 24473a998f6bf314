package brokerload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Target is a broker that is compared.
type Target struct {
	Name    string
	Brokers []string
	PID     int
	// Durable are configs of a topic that make every acknowledged batch durable, if
	// the broker does not do so by itself.
	Durable map[string]string
}

// Case is what is driven into each target: the same load, durable at the
// acknowledgement or in the page cache.
type Case struct {
	Durable      bool
	RecordBytes  int
	Partitions   int32
	BatchRecords int
	Records      int64
}

// Cases are those of the comparison: records of 100 B and 1 KiB on 1, 16 and 256
// partitions, and small batches. scale multiplies the records; 1 takes some minutes.
func Cases(scale float64) (out []Case) {
	records := map[bool]map[int]int64{false: {100: 6_000_000, 1024: 1_000_000}, true: {100: 2_000_000, 1024: 300_000}}
	for _, durable := range []bool{false, true} {
		for _, size := range []int{100, 1024} {
			n := int64(float64(records[durable][size]) * scale)
			for _, partitions := range []int32{1, 16, 256} {
				out = append(out, Case{durable, size, partitions, 0, max(n, 1)})
			}
		}
		out = append(out, Case{durable, 100, 1, 100, max(int64(float64(records[durable][100])*scale/2), 1)})
	}
	return out
}

// Cost is what a case cost one target.
type Cost struct {
	Produce Result `json:"produce"`
	Consume Result `json:"consume"`
	// Latency at a tenth and at half of the throughput of the slower target.
	Tenth Latency `json:"tenth"`
	Half  Latency `json:"half"`
}

// Measure drives a case into each target, rounds times in turn, and takes the
// median of each figure. Every other round begins with the last target: who writes
// first may find the memory of the machine colder. The first round warms up and does
// not count.
func Measure(ctx context.Context, c Case, rounds int, targets ...Target) ([]Cost, error) {
	runs := make([][]Cost, len(targets))
	for round := range rounds + 1 {
		for n := range targets {
			i := n
			if round%2 == 1 {
				i = len(targets) - 1 - n
			}
			t := targets[i]
			cost, err := measureOnce(ctx, c, t)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.Name, err)
			}
			if round > 0 {
				runs[i] = append(runs[i], cost)
			}
		}
	}
	out := make([]Cost, len(targets))
	for i, r := range runs {
		out[i] = Cost{
			Produce: middle(r, func(c Cost) Result { return c.Produce }),
			Consume: middle(r, func(c Cost) Result { return c.Consume }),
		}
	}
	return out, nil
}

// MeasureLatencies adds the latencies of a case to its costs.
func MeasureLatencies(ctx context.Context, c Case, length time.Duration, costs []Cost, targets ...Target) error {
	slowest := costs[0].Produce.RecordsPerSecond
	for _, cost := range costs {
		slowest = min(slowest, cost.Produce.RecordsPerSecond)
	}
	for i, t := range targets {
		for _, at := range []struct {
			part float64
			to   *Latency
		}{{0.1, &costs[i].Tenth}, {0.5, &costs[i].Half}} {
			err := c.on(ctx, t, func(l Load) (err error) {
				*at.to, err = MeasureLatency(ctx, l, min(slowest*at.part, maxRate), length)
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
		}
	}
	return nil
}

func measureOnce(ctx context.Context, c Case, t Target) (cost Cost, err error) {
	err = c.on(ctx, t, func(l Load) error {
		if cost.Produce, err = Produce(ctx, l); err != nil {
			return err
		}
		cost.Consume, err = Consume(ctx, l)
		return err
	})
	return cost, err
}

// on calls fn with the load on a topic of the target.
func (c Case) on(ctx context.Context, t Target, fn func(Load) error) error {
	l := Load{
		Brokers: t.Brokers, PID: t.PID, Topic: fmt.Sprintf("levada-bench-%d", time.Now().UnixNano()), Configs: map[string]string{},
		Partitions: c.Partitions, RecordBytes: c.RecordBytes, BatchRecords: c.BatchRecords, Records: c.Records,
	}
	if c.Durable {
		maps.Copy(l.Configs, t.Durable)
	}
	drop, err := l.MakeTopic(ctx)
	if err != nil {
		return err
	}
	return errors.Join(fn(l), drop(context.WithoutCancel(ctx)))
}

// middle is the median of each figure.
func middle(runs []Cost, of func(Cost) Result) Result {
	median := func(figure func(Result) float64) float64 {
		var all []float64
		for _, r := range runs {
			all = append(all, figure(of(r)))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	r := of(runs[len(runs)-1])
	r.RecordsPerSecond = median(func(r Result) float64 { return r.RecordsPerSecond })
	r.RecordsPerBatch = median(func(r Result) float64 { return r.RecordsPerBatch })
	r.BrokerCPUMicros = median(func(r Result) float64 { return r.BrokerCPUMicros })
	r.ClientCPUMicros = median(func(r Result) float64 { return r.ClientCPUMicros })
	r.BrokerRSSMiB = median(func(r Result) float64 { return r.BrokerRSSMiB })
	return r
}
