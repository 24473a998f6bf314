package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/bench/brokerload"
)

// startResult is how long a server took to start, in milliseconds.
type startResult struct {
	Partitions int32   `json:"partitions"`
	MiB        int64   `json:"mib"`
	Killed     bool    `json:"killed"`
	Cold       bool    `json:"cold"`     // the page cache was dropped
	ReadMiB    float64 `json:"read_mib"` // by the server until then
	Listening  float64 `json:"listening_ms"`
	FirstAck   float64 `json:"first_ack_ms"`
}

type startFlags struct {
	partitions int32
	mib        int64
	kill, cold bool
	dir        string
}

func (a *app) benchStartCommand() *cobra.Command {
	f := &startFlags{}
	c := &cobra.Command{
		Use: "start", Short: "Measure how long a server takes from its start to the first acknowledged record", Args: cobra.NoArgs,
		Long: "Fills a topic, ends the server, and starts it again over the same directory.",
		RunE: func(c *cobra.Command, _ []string) error {
			r, err := f.run(c.Context())
			if err != nil {
				return err
			}
			return a.print(c.OutOrStdout(), r, table{
				header: []string{"PARTITIONS", "MiB", "KILLED", "COLD", "READ MiB", "LISTENING ms", "FIRST RECORD ms"},
				rows:   [][]string{{strconv.Itoa(int(r.Partitions)), strconv.FormatInt(r.MiB, 10), strconv.FormatBool(r.Killed), strconv.FormatBool(r.Cold), decimal(r.ReadMiB, 1), decimal(r.Listening, 0), decimal(r.FirstAck, 0)}},
			})
		},
	}
	c.Flags().Int32Var(&f.partitions, "partitions", 1, "partitions of the topic")
	c.Flags().Int64Var(&f.mib, "mib", 16, "how much is written to it first, in MiB")
	c.Flags().BoolVar(&f.kill, "kill", false, "end the server with SIGKILL while it is written to")
	c.Flags().BoolVar(&f.cold, "cold", false, "drop the page cache of the machine before the start, which takes root")
	c.Flags().StringVar(&f.dir, "dir", "", "directory for the server (default: a temporary one)")
	return c
}

func (f *startFlags) run(ctx context.Context) (startResult, error) {
	r := startResult{Partitions: f.partitions, MiB: f.mib, Killed: f.kill, Cold: f.cold}
	if f.mib < 1 || f.mib > 1<<20 {
		return r, inputError(fmt.Errorf("--mib %d: use 1 to %d", f.mib, 1<<20))
	}
	dir, drop, err := workDir(f.dir)
	if err != nil {
		return r, err
	}
	defer drop()
	dir = filepath.Join(dir, "server")
	if err := f.fill(ctx, dir); err != nil {
		return r, err
	}
	if f.cold {
		syscall.Sync()
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			return r, environmentError(fmt.Errorf("--cold: %w", err))
		}
	}
	began := time.Now()
	server, err := startBenchServer(ctx, dir)
	if err != nil {
		return r, environmentError(err)
	}
	defer server.stop()
	r.Listening = float64(time.Since(began).Microseconds()) / 1000
	read, err := brokerload.ReadBytes(server.cmd.Process.Pid)
	if err != nil {
		return r, err
	}
	r.ReadMiB = float64(read) / (1 << 20)
	client, err := kgo.NewClient(kgo.SeedBrokers(server.address), kgo.ProducerLinger(0))
	if err != nil {
		return r, err
	}
	defer client.Close()
	err = client.ProduceSync(ctx, &kgo.Record{Topic: startTopic, Value: []byte("first")}).FirstErr()
	r.FirstAck = float64(time.Since(began).Microseconds()) / 1000
	return r, err
}

const startTopic = "levada-bench-start"

// fill writes to a new server and ends it.
func (f *startFlags) fill(ctx context.Context, dir string) error {
	server, err := startBenchServer(ctx, dir)
	if err != nil {
		return environmentError(err)
	}
	const recordBytes = 10 << 10
	l := brokerload.Load{Brokers: []string{server.address}, Topic: startTopic, Partitions: f.partitions, RecordBytes: recordBytes, Records: f.mib << 20 / recordBytes}
	_, err = l.MakeTopic(ctx)
	if err == nil {
		_, err = brokerload.Produce(ctx, l)
	}
	if f.kill {
		err = errors.Join(err, server.cmd.Process.Kill())
	}
	server.stop()
	return err
}
