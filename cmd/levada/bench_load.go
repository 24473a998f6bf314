package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/levada/levada/bench/brokerload"
)

// loadFlags are those of the commands that drive a broker.
type loadFlags struct {
	client       string
	brokers      string
	pid          int
	records      int64
	size         int
	partitions   int32
	batchRecords int
	fsync        string
	config       []string
	rate         float64
	length       time.Duration
	dir, profile string
}

func (f *loadFlags) add(c *cobra.Command) {
	addClient(c, &f.client)
	c.Flags().StringVar(&f.brokers, "brokers", "", "brokers, HOST:PORT,… (default: a server that is started for the run)")
	c.Flags().IntVar(&f.pid, "pid", 0, "process of the broker on this machine, whose CPU and memory are measured (known for a server that is started)")
	c.Flags().IntVar(&f.size, "size", 100, "bytes of a record, key and value together")
	c.Flags().Int32Var(&f.partitions, "partitions", 1, "partitions of the topic")
	c.Flags().StringVar(&f.fsync, "fsync", "always", "of the server that is started: always, interval or os")
	c.Flags().StringArrayVar(&f.config, "config", nil, "NAME=VALUE for the topic")
	c.Flags().StringVar(&f.profile, "cpuprofile", "", "write a CPU profile of the server that is started")
	c.Flags().StringVar(&f.dir, "dir", "", "directory for the server that is started (default: a temporary one)")
}

// addClient adds the flag for the client that drives a broker.
func addClient(c *cobra.Command, client *string) {
	c.Flags().StringVar(client, "client", string(brokerload.Encoded), "what drives the broker: encoded (batches encoded before, which costs little) or franz-go (as an application does)")
}

// checkClient refuses a client that there is not.
func checkClient(client string) error {
	if !slices.Contains(brokerload.Clients, brokerload.Client(client)) {
		return inputError(fmt.Errorf("--client %q: use encoded or franz-go", client))
	}
	return nil
}

// load is what the flags say.
func (f *loadFlags) load() (brokerload.Load, error) {
	l := brokerload.Load{
		Client: brokerload.Client(f.client),
		Topic:  fmt.Sprintf("levada-bench-%d", os.Getpid()), Configs: map[string]string{}, Partitions: f.partitions,
		RecordBytes: f.size, BatchRecords: f.batchRecords, Records: f.records, PID: f.pid,
	}
	for _, s := range f.config {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return l, inputError(fmt.Errorf("--config %q: write NAME=VALUE", s))
		}
		l.Configs[name] = value
	}
	if f.records < 0 || f.size < 1 || f.partitions < 1 || f.batchRecords < 0 || f.rate < 0 || f.length < 0 {
		return l, inputError(errors.New("--records, --size, --partitions, --batch-records, --rate and --for must be positive"))
	}
	if err := checkClient(f.client); err != nil {
		return l, err
	}
	if _, ok := fsyncPolicies[f.fsync]; !ok {
		return l, inputError(fmt.Errorf("--fsync %q: use always, interval or os", f.fsync))
	}
	if f.brokers != "" {
		l.Brokers = strings.Split(f.brokers, ",")
	}
	return l, nil
}

// driven calls fn with a load on a fresh topic, of a server that is started if no
// other is named.
func (f *loadFlags) driven(ctx context.Context, fn func(brokerload.Load) error) error {
	l, err := f.load()
	if err != nil {
		return err
	}
	if f.brokers == "" {
		dir, drop, err := workDir(f.dir)
		if err != nil {
			return err
		}
		defer drop()
		server, err := startBenchServer(ctx, filepath.Join(dir, "server"), "--fsync", f.fsync, "--cpuprofile", f.profile)
		if err != nil {
			return environmentError(err)
		}
		defer server.stop()
		l.Brokers, l.PID = []string{server.address}, server.cmd.Process.Pid
	}
	dropTopic, err := l.MakeTopic(ctx)
	if err != nil {
		return environmentError(err)
	}
	return errors.Join(fn(l), dropTopic(context.WithoutCancel(ctx)))
}

// workDir is the directory of a benchmark; drop removes it if it was made here.
func workDir(dir string) (string, func(), error) {
	if dir != "" {
		return dir, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "levada-bench-")
	if err != nil {
		return "", nil, environmentError(err)
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}

func (a *app) benchProduceCommand() *cobra.Command {
	f := &loadFlags{}
	c := &cobra.Command{
		Use: "produce", Short: "Measure writing to a broker, ours or Apache Kafka", Args: cobra.NoArgs,
		Long: "Writes records as fast as they are taken, acks=all, and counts what each costs the broker and the client in CPU.",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.driven(c.Context(), func(l brokerload.Load) error {
				r, err := brokerload.Produce(c.Context(), l)
				if err != nil {
					return err
				}
				return a.print(c.OutOrStdout(), r, loadTable(r))
			})
		},
	}
	f.add(c)
	f.addVolume(c)
	return c
}

func (f *loadFlags) addVolume(c *cobra.Command) {
	c.Flags().Int64Var(&f.records, "records", 1_000_000, "records")
	c.Flags().IntVar(&f.batchRecords, "batch-records", 0, "records of a batch (default: as many as there are, up to 1 MiB)")
}

func (a *app) benchConsumeCommand() *cobra.Command {
	f := &loadFlags{}
	c := &cobra.Command{
		Use: "consume", Short: "Measure reading from a broker, ours or Apache Kafka", Args: cobra.NoArgs,
		Long: "Writes records first, which is not measured, and reads them once to warm up; then reads them and counts what each costs the broker and the client.",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.driven(c.Context(), func(l brokerload.Load) error {
				if _, err := brokerload.Produce(c.Context(), l); err != nil {
					return err
				}
				if _, err := brokerload.Consume(c.Context(), l); err != nil {
					return err
				}
				r, err := brokerload.Consume(c.Context(), l)
				if err != nil {
					return err
				}
				return a.print(c.OutOrStdout(), r, loadTable(r))
			})
		},
	}
	f.add(c)
	f.addVolume(c)
	return c
}

func (a *app) benchLatencyCommand() *cobra.Command {
	f := &loadFlags{}
	c := &cobra.Command{
		Use: "latency", Short: "Measure how long a record takes until it is acknowledged, at a fixed rate", Args: cobra.NoArgs,
		Long: "Writes records at the times of a schedule, whether or not the broker keeps up, and counts from the schedule (an open loop: a stall of the broker counts for every record that it delays).",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.driven(c.Context(), func(l brokerload.Load) error {
				r, err := brokerload.MeasureLatency(c.Context(), l, f.rate, f.length)
				if err != nil {
					return err
				}
				return a.print(c.OutOrStdout(), r, latencyTable(r))
			})
		},
	}
	f.add(c)
	c.Flags().Float64Var(&f.rate, "rate", 1000, "records a second")
	c.Flags().DurationVar(&f.length, "for", 10*time.Second, "how long")
	return c
}

func decimal(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

// measured is a cost; a dash where it was too small for the clock of the system, or
// could not be measured.
func measured(v float64, digits int) string {
	if v == 0 {
		return "-"
	}
	return decimal(v, digits)
}

func loadTable(r brokerload.Result) table {
	return table{
		header: []string{"RECORDS", "BYTES", "PARTITIONS", "RECORDS/S", "RECORDS/BATCH", "BROKER us/RECORD", "CLIENT us/RECORD", "BROKER MiB"},
		rows: [][]string{{
			strconv.FormatInt(r.Records, 10), strconv.Itoa(r.RecordBytes), strconv.Itoa(int(r.Partitions)), decimal(r.RecordsPerSecond, 0),
			decimal(r.RecordsPerBatch, 0), measured(r.BrokerCPUMicros, 3), measured(r.ClientCPUMicros, 3), measured(r.BrokerRSSMiB, 0),
		}},
	}
}

func latencyTable(r brokerload.Latency) table {
	return table{
		header: []string{"RECORDS/S", "BYTES", "PARTITIONS", "p50 ms", "p99 ms", "p99.9 ms", "MAX ms", "BROKER us/RECORD"},
		rows: [][]string{{
			decimal(r.Rate, 0), strconv.Itoa(r.RecordBytes), strconv.Itoa(int(r.Partitions)), decimal(r.P50, 2), decimal(r.P99, 2), decimal(r.P999, 2), decimal(r.Max, 2), measured(r.BrokerCPUMicros, 2),
		}},
	}
}
