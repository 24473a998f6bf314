package brokerload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
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
	// Data is where it keeps its logs, if it removes those of deleted topics later,
	// as Apache Kafka does.
	Data string
}

// settle waits until a target has removed a deleted topic, and all is on disk: the
// next run would pay for it.
func (t Target) settle(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for t.Data != "" {
		names, err := os.ReadDir(t.Data)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(names, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), topic+"-") }) {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s has not removed topic %s from %s within a minute", t.Name, topic, t.Data)
		case <-time.After(50 * time.Millisecond):
		}
	}
	syscall.Sync()
	return nil
}

// Case is what is driven into each target: the same load, durable at the
// acknowledgement or in the page cache.
type Case struct {
	Client       Client
	Durable      bool
	RecordBytes  int
	Partitions   int32
	BatchRecords int
	Records      int64
}

// Cases are those of the comparison: records of 100 B and 1 KiB on 1, 16 and 256
// partitions, and small batches. scale multiplies the records; 1 takes some minutes.
func Cases(client Client, scale float64) (out []Case) {
	for _, durable := range []bool{false, true} {
		records := func(most float64) int64 { return max(int64(most*scale), 1) }
		for _, partitions := range []int32{1, 16, 256} {
			out = append(out, Case{client, durable, 100, partitions, 0, records(6_000_000)})
		}
		for _, partitions := range []int32{1, 16, 256} {
			out = append(out, Case{client, durable, 1024, partitions, 0, records(1_000_000)})
		}
		out = append(out, Case{client, durable, 100, 1, 100, records(3_000_000)})
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
			i := turn(round, n, len(targets))
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

// MeasureLatencies adds the latencies of a case to its costs: medians of rounds, in
// turn as in Measure.
func MeasureLatencies(ctx context.Context, c Case, rounds int, length time.Duration, costs []Cost, targets ...Target) error {
	slowest := costs[0].Produce.RecordsPerSecond
	for _, cost := range costs {
		slowest = min(slowest, cost.Produce.RecordsPerSecond)
	}
	for _, at := range []struct {
		part float64
		of   func(*Cost) *Latency
	}{{0.1, func(c *Cost) *Latency { return &c.Tenth }}, {0.5, func(c *Cost) *Latency { return &c.Half }}} {
		runs := make([][]Latency, len(targets))
		for round := range rounds {
			for n := range targets {
				i := turn(round, n, len(targets))
				err := c.on(ctx, targets[i], func(ctx context.Context, l Load) error {
					took, err := MeasureLatency(ctx, l, min(slowest*at.part, maxRate), length)
					runs[i] = append(runs[i], took)
					return err
				})
				if err != nil {
					return fmt.Errorf("%s: %w", targets[i].Name, err)
				}
			}
		}
		for i, r := range runs {
			*at.of(&costs[i]) = middleLatency(r)
		}
	}
	return nil
}

// turn is the target that is the n-th of a round.
func turn(round, n, targets int) int {
	if round%2 == 1 {
		return targets - 1 - n
	}
	return n
}

func measureOnce(ctx context.Context, c Case, t Target) (cost Cost, err error) {
	err = c.on(ctx, t, func(ctx context.Context, l Load) error {
		if cost.Produce, err = Produce(ctx, l); err != nil {
			return err
		}
		cost.Consume, err = Consume(ctx, l)
		return err
	})
	return cost, err
}

// maxRun is how long one run may take: a broker may hang.
const maxRun = 5 * time.Minute

// on calls run with the load on a topic of the target, and leaves nothing behind.
func (c Case) on(ctx context.Context, t Target, run func(context.Context, Load) error) error {
	ctx, cancel := context.WithTimeout(ctx, maxRun)
	defer cancel()
	l := Load{
		Client: c.Client, Brokers: t.Brokers, PID: t.PID, Topic: fmt.Sprintf("levada-bench-%d", time.Now().UnixNano()), Configs: map[string]string{},
		Partitions: c.Partitions, RecordBytes: c.RecordBytes, BatchRecords: c.BatchRecords, Records: c.Records,
	}
	if c.Durable {
		maps.Copy(l.Configs, t.Durable)
	}
	drop, err := l.MakeTopic(ctx)
	if err != nil {
		return err
	}
	return errors.Join(run(ctx, l), drop(context.WithoutCancel(ctx)), t.settle(context.WithoutCancel(ctx), l.Topic))
}

// middle is the median of each figure.
func middle(runs []Cost, of func(Cost) Result) Result {
	var all []Result
	for _, r := range runs {
		all = append(all, of(r))
	}
	r := all[len(all)-1]
	for _, figure := range []func(*Result) *float64{
		func(r *Result) *float64 { return &r.RecordsPerSecond },
		func(r *Result) *float64 { return &r.RecordsPerBatch },
		func(r *Result) *float64 { return &r.BrokerCPUMicros },
		func(r *Result) *float64 { return &r.ClientCPUMicros },
		func(r *Result) *float64 { return &r.BrokerRSSMiB },
	} {
		*figure(&r) = median(all, figure)
	}
	return r
}

func middleLatency(runs []Latency) Latency {
	l := runs[len(runs)-1]
	for _, figure := range []func(*Latency) *float64{
		func(l *Latency) *float64 { return &l.P50 },
		func(l *Latency) *float64 { return &l.P99 },
		func(l *Latency) *float64 { return &l.P999 },
		func(l *Latency) *float64 { return &l.Max },
	} {
		*figure(&l) = median(runs, figure)
	}
	return l
}

func median[T any](runs []T, figure func(*T) *float64) float64 {
	var all []float64
	for i := range runs {
		all = append(all, *figure(&runs[i]))
	}
	slices.Sort(all)
	return all[len(all)/2]
}
