package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/levada/levada/bench/brokerload"
)

type compareFlags struct {
	kafka, dir string
	client     string
	pid        int
	rounds     int
	scale      float64
	length     time.Duration
	match      string
}

func (a *app) benchCompareCommand() *cobra.Command {
	f := &compareFlags{}
	c := &cobra.Command{
		Use: "compare", Short: "Measure this broker and Apache Kafka in turn, with the same client", Args: cobra.NoArgs,
		Long: "For each kind of load, in turn: writes and reads it, then writes at a tenth and at half of what the slower one took and measures the latency.\n" +
			"CPU is that of the broker's process, user and system. Prints a Markdown table.",
		Example: "  bench/kafka.sh run bin/levada bench compare",
		RunE:    func(c *cobra.Command, _ []string) error { return a.benchCompare(c, f) },
	}
	addClient(c, &f.client)
	pid, _ := strconv.Atoi(os.Getenv("LEVADA_KAFKA_PID")) // not a number: not known
	c.Flags().StringVar(&f.kafka, "kafka", os.Getenv("LEVADA_KAFKA"), "the other broker, HOST:PORT (default: LEVADA_KAFKA, which bench/kafka.sh run sets)")
	c.Flags().IntVar(&f.pid, "kafka-pid", pid, "its process (default: LEVADA_KAFKA_PID)")
	c.Flags().IntVar(&f.rounds, "rounds", 3, "runs of which the median is taken")
	c.Flags().Float64Var(&f.scale, "scale", 1, "multiplies the records of a run")
	c.Flags().DurationVar(&f.length, "latency-for", 5*time.Second, "length of a latency run; 0 measures none")
	c.Flags().StringVar(&f.match, "match", "", "only the kinds of load whose name contains this")
	c.Flags().StringVar(&f.dir, "dir", "", "directory for this broker (default: a temporary one)")
	return c
}

func (a *app) benchCompare(c *cobra.Command, f *compareFlags) error {
	if f.kafka == "" || f.pid == 0 {
		return inputError(errors.New("--kafka and --kafka-pid are missing: run bench/kafka.sh run bin/levada bench compare"))
	}
	if err := checkClient(f.client); err != nil {
		return err
	}
	if f.rounds < 1 || f.rounds > 100 || f.scale <= 0 || f.length < 0 {
		return inputError(errors.New("--rounds, --scale: use positive numbers"))
	}
	dir, drop, err := workDir(f.dir)
	if err != nil {
		return err
	}
	defer drop()
	other := brokerload.Target{Name: "Kafka", Brokers: []string{f.kafka}, PID: f.pid, Durable: map[string]string{"flush.messages": "1"}, Data: os.Getenv("LEVADA_KAFKA_DATA")}
	w := c.OutOrStdout()
	fmt.Fprintln(w, "| load | broker | produce/s | consume/s | CPU produce us | CPU fetch us | CPU sum | client us | RSS MiB | p50/p99 ms at 10 % | p50/p99 ms at 50 % |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, fsync := range []string{"os", "always"} {
		server, err := startBenchServer(c.Context(), filepath.Join(dir, fsync), "--fsync", fsync)
		if err != nil {
			return environmentError(err)
		}
		ours := brokerload.Target{Name: "Levada", Brokers: []string{server.address}, PID: server.cmd.Process.Pid}
		err = f.cases(c.Context(), fsync == "always", ours, other, func(line string) { fmt.Fprintln(w, line) })
		server.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// cases measures all of one durability.
func (f *compareFlags) cases(ctx context.Context, durable bool, ours, other brokerload.Target, print func(string)) error {
	for _, load := range brokerload.Cases(brokerload.Client(f.client), f.scale) {
		name := loadName(load)
		if load.Durable != durable || !strings.Contains(name, f.match) {
			continue
		}
		costs, err := brokerload.Measure(ctx, load, f.rounds, ours, other)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if f.length > 0 {
			if err := brokerload.MeasureLatencies(ctx, load, f.rounds, f.length, costs, ours, other); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		print(compareRow(name, ours.Name, costs[0]))
		print(compareRow(name, other.Name, costs[1]))
		print(ratioRow(costs[0], costs[1]))
	}
	return nil
}

func loadName(c brokerload.Case) string {
	name := fmt.Sprintf("%d B, %d p", c.RecordBytes, c.Partitions)
	if c.BatchRecords > 0 {
		name += fmt.Sprintf(", batches of %d", c.BatchRecords)
	}
	if c.Durable {
		return name + ", durable"
	}
	return name
}

func compareRow(name, broker string, c brokerload.Cost) string {
	latency := func(l brokerload.Latency) string {
		if l.Rate == 0 {
			return "-"
		}
		return decimal(l.P50, 2) + " / " + decimal(l.P99, 2)
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |", name, broker,
		decimal(c.Produce.RecordsPerSecond, 0), decimal(c.Consume.RecordsPerSecond, 0), decimal(c.Produce.BrokerCPUMicros, 3), decimal(c.Consume.BrokerCPUMicros, 3),
		decimal(c.Produce.BrokerCPUMicros+c.Consume.BrokerCPUMicros, 3), decimal(c.Produce.ClientCPUMicros, 2)+" / "+decimal(c.Consume.ClientCPUMicros, 2), decimal(max(c.Produce.BrokerRSSMiB, c.Consume.BrokerRSSMiB), 0), latency(c.Tenth), latency(c.Half))
}

// ratioRow is ours over the other's.
func ratioRow(ours, other brokerload.Cost) string {
	ratio := func(of func(brokerload.Cost) float64) string {
		if of(other) == 0 {
			return "-"
		}
		return decimal(of(ours)/of(other), 2)
	}
	figures := []func(brokerload.Cost) float64{
		func(c brokerload.Cost) float64 { return c.Produce.RecordsPerSecond },
		func(c brokerload.Cost) float64 { return c.Consume.RecordsPerSecond },
		func(c brokerload.Cost) float64 { return c.Produce.BrokerCPUMicros },
		func(c brokerload.Cost) float64 { return c.Consume.BrokerCPUMicros },
		func(c brokerload.Cost) float64 { return c.Produce.BrokerCPUMicros + c.Consume.BrokerCPUMicros },
		func(brokerload.Cost) float64 { return 0 }, // the client's is not compared
		func(c brokerload.Cost) float64 { return max(c.Produce.BrokerRSSMiB, c.Consume.BrokerRSSMiB) },
		func(c brokerload.Cost) float64 { return c.Tenth.P99 },
		func(c brokerload.Cost) float64 { return c.Half.P99 },
	}
	row := "| | ratio |"
	for _, f := range figures {
		row += " " + ratio(f) + " |"
	}
	return row
}
