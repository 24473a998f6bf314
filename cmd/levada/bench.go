package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/levada/levada/bench/workload"
)

type benchFlags struct {
	records, keys int64
	partitions    int32
	workers       int
	commit        time.Duration
	emit, brokers string
	seed          uint64
	dir           string
	childOf       string // set in the child: when it was started, ns since 1970
	profile       string
}

// Without --records runs grow until one takes benchSeconds here. A longer run
// does better than the one before: its length is set with a margin for that.
const (
	trialRecords = 16_000_000
	trialMargin  = 1.5 // after the first run, of a few seconds
	benchSeconds = 20
	benchMargin  = 1.1
)

func (a *app) benchCommand() *cobra.Command {
	f := &benchFlags{}
	c := &cobra.Command{
		Use:   "bench WORKLOAD",
		Short: "Measure a workload: " + strings.Join(workload.Names, ", "),
		Long: "The input is preloaded, the topology runs in a fresh process, exactly once, until its stores are flushed; the CPU of that process\n" +
			"(and of a server that --brokers server starts) is counted, and the output is read back and compared with a recomputation. A wrong\n" +
			"result is exit code 1 and no figure.",
		Args: cobra.ExactArgs(1), ValidArgs: workload.Names,
		RunE: func(c *cobra.Command, args []string) error { return a.bench(c, args[0], f) },
	}
	c.Flags().Int64Var(&f.records, "records", 0, "input records, words for wordcount (default: as many as take 20 s here, found by shorter runs)")
	c.Flags().Int64Var(&f.keys, "keys", 100_000, "distinct keys")
	c.Flags().Int32Var(&f.partitions, "partitions", 4, "partitions of the topics")
	c.Flags().IntVar(&f.workers, "workers", 2, "workers")
	c.Flags().DurationVar(&f.commit, "commit", 100*time.Millisecond, "commit interval")
	c.Flags().StringVar(&f.emit, "emit", "update", "what a count emits: update (every one) or commit (the newest per key and commit)")
	c.Flags().StringVar(&f.brokers, "brokers", "", "brokers, HOST:PORT,… or `server` to start one as a process of its own (default: embedded)")
	c.Flags().Uint64Var(&f.seed, "seed", 1, "seed of the input")
	c.Flags().StringVar(&f.dir, "dir", "", "directory to work in (default: a temporary one)")
	c.Flags().StringVar(&f.profile, "cpuprofile", "", "write a CPU profile of the process that runs the topology")
	c.Flags().StringVar(&f.childOf, "child", "", "")
	_ = c.Flags().MarkHidden("child")
	c.AddCommand(a.benchProduceCommand(), a.benchConsumeCommand(), a.benchLatencyCommand(), a.benchStartCommand(), a.benchCompareCommand())
	return c
}

func (f *benchFlags) config(a *app, name string) (workload.Config, error) {
	var faults []error
	if !slices.Contains(workload.Names, name) {
		faults = append(faults, fmt.Errorf("workload %q: use one of %s", name, strings.Join(workload.Names, ", ")))
	}
	if f.emit != "update" && f.emit != "commit" {
		faults = append(faults, fmt.Errorf("--emit %q: use update or commit", f.emit))
	}
	if f.records < 0 || f.keys < 1 || f.partitions < 1 || f.workers < 1 || f.commit <= 0 {
		faults = append(faults, errors.New("--records, --keys, --partitions, --workers and --commit must be positive"))
	}
	c := workload.Config{
		Input:      workload.Input{Workload: name, Records: f.records, Keys: f.keys, Seed: f.seed},
		Partitions: f.partitions, Workers: f.workers, CommitInterval: f.commit, EmitOnCommit: f.emit == "commit", Dir: f.dir, Logger: a.logger(true),
	}
	if f.brokers != "" {
		c.Brokers = strings.Split(f.brokers, ",")
	}
	if len(faults) > 0 {
		return c, inputError(errors.Join(faults...))
	}
	return c, nil
}

// benchResult is the one JSON object that bench prints.
type benchResult struct {
	Workload         string  `json:"workload"`
	Records          int64   `json:"records"`
	Keys             int64   `json:"keys"`
	Emit             string  `json:"emit"`
	RecordsPerSecond float64 `json:"records_per_second"`
	CPUMicros        float64 `json:"cpu_us_per_record"`
	PeakRSSMiB       float64 `json:"peak_rss_mib"`
	WriteRatio       float64 `json:"bytes_written_per_input_byte"`
	CommitP50Ms      float64 `json:"commit_p50_ms"`
	CommitP99Ms      float64 `json:"commit_p99_ms"`
	FirstRecordMs    float64 `json:"first_record_ms"`
	Verified         bool    `json:"verified"`
}

func (a *app) bench(c *cobra.Command, name string, f *benchFlags) error {
	if f.childOf != "" {
		return a.benchChild(c, name, f)
	}
	if _, err := f.config(a, name); err != nil {
		return err
	}
	dir, drop, err := workDir(f.dir)
	if err != nil {
		return err
	}
	defer drop()
	f.dir = dir
	var server *benchServer
	if f.brokers == "server" {
		if server, err = startBenchServer(c.Context(), filepath.Join(f.dir, "server")); err != nil {
			return environmentError(err)
		}
		defer server.stop()
		f.brokers = server.address
	}
	var result benchResult
	if f.records > 0 {
		result, err = a.round(c.Context(), name, f, server)
	} else {
		result, err = a.longEnough(c, name, f, server)
	}
	if err != nil {
		return err
	}
	return a.print(c.OutOrStdout(), result, result.table())
}

// longEnough repeats the round with more records until it takes benchSeconds,
// or as long as the disk allows.
func (a *app) longEnough(c *cobra.Command, name string, f *benchFlags, server *benchServer) (benchResult, error) {
	f.records = trialRecords
	full := false // the disk holds no more than this round
	for margin := trialMargin; ; margin = benchMargin {
		result, err := a.round(c.Context(), name, f, server)
		if err != nil || full || float64(f.records) >= result.RecordsPerSecond*benchSeconds {
			return result, err
		}
		if err := clearRound(f.dir); err != nil {
			return result, environmentError(err)
		}
		room, err := roomFor(a, name, f)
		if err != nil {
			return result, err
		}
		const million = 1_000_000
		wanted := (int64(result.RecordsPerSecond*benchSeconds*margin)/million + 1) * million
		if full = room < wanted; full {
			fmt.Fprintf(c.ErrOrStderr(), "levada: %d records would take %d s here, and the disk of %s has room for %d (--dir uses another)\n", wanted, benchSeconds, f.dir, room)
		}
		if wanted = min(wanted, room); wanted <= f.records {
			return result, nil
		}
		f.records = wanted
	}
}

// roomFor is how many records the disk holds, in whole millions. The more there
// are the less each takes, so it is at least as many.
func roomFor(a *app, name string, f *benchFlags) (int64, error) {
	cfg, err := f.config(a, name)
	if err != nil {
		return 0, err
	}
	room, err := freeSpace(f.dir)
	if err != nil {
		return 0, environmentError(err)
	}
	const million = 1_000_000
	return int64(float64(room)/float64(cfg.DiskBytes())*float64(f.records)/million) * million, nil
}

// round preloads the input, measures, and verifies the output.
func (a *app) round(ctx context.Context, name string, f *benchFlags, server *benchServer) (benchResult, error) {
	cfg, err := f.config(a, name)
	if err != nil {
		return benchResult{}, err
	}
	if err := checkSpace(cfg); err != nil {
		return benchResult{}, err
	}
	if err := workload.Preload(ctx, cfg); err != nil {
		return benchResult{}, fmt.Errorf("preload: %w", err)
	}
	result, err := measure(ctx, name, f, server)
	if err != nil {
		return benchResult{}, err
	}
	if err := workload.Verify(ctx, cfg); err != nil {
		return benchResult{}, err
	}
	result.Verified = true
	return result, nil
}

// spareBytes of the disk are left alone.
const spareBytes = 2 << 30

// freeSpace is what a round may put on the disk of dir, in bytes.
func freeSpace(dir string) (int64, error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	return int64(usage.AvailBytes) - spareBytes, err
}

// checkSpace refuses a round that would fill the disk.
func checkSpace(c workload.Config) error {
	room, err := freeSpace(c.Dir)
	if err != nil {
		return environmentError(err)
	}
	if need := c.DiskBytes(); room < need {
		return environmentError(fmt.Errorf("%d records need %d MiB in %s, which has %d MiB to spare: set --records or --dir", c.Input.Records, need>>20, c.Dir, max(room, 0)>>20))
	}
	return nil
}

// clearRound removes the log and the state of a round; what a server holds is
// deleted by Preload.
func clearRound(dir string) error {
	return errors.Join(os.RemoveAll(filepath.Join(dir, workload.LogDir)), os.RemoveAll(filepath.Join(dir, workload.StateDir)))
}

func (r benchResult) table() table {
	number := func(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }
	return table{
		header: []string{"WORKLOAD", "RECORDS", "KEYS", "EMIT", "RECORDS/S", "CPU us/RECORD", "PEAK MiB", "WRITTEN/INPUT", "COMMIT p50 ms", "p99 ms", "FIRST ms", "VERIFIED"},
		rows: [][]string{{
			r.Workload, strconv.FormatInt(r.Records, 10), strconv.FormatInt(r.Keys, 10), r.Emit, number(r.RecordsPerSecond, 0), number(r.CPUMicros, 3),
			number(r.PeakRSSMiB, 0), number(r.WriteRatio, 2), number(r.CommitP50Ms, 1), number(r.CommitP99Ms, 1), number(r.FirstRecordMs, 0), strconv.FormatBool(r.Verified),
		}},
	}
}

// measure runs the topology in a child process and adds up what it cost.
func measure(ctx context.Context, name string, f *benchFlags, server *benchServer) (benchResult, error) {
	var out benchResult
	self, err := os.Executable()
	if err != nil {
		return out, err
	}
	before, err := server.used()
	if err != nil {
		return out, err
	}
	args := []string{
		"bench", name, "--records", fmt.Sprint(f.records), "--keys", fmt.Sprint(f.keys), "--partitions", fmt.Sprint(f.partitions),
		"--workers", fmt.Sprint(f.workers), "--commit", f.commit.String(), "--emit", f.emit, "--seed", fmt.Sprint(f.seed), "--dir", f.dir,
		"--brokers", f.brokers, "--cpuprofile", f.profile, "--child", strconv.FormatInt(time.Now().UnixNano(), 10),
	}
	cmd := exec.CommandContext(ctx, self, args...)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return out, fmt.Errorf("the measured process: %w", err)
	}
	after, err := server.used()
	if err != nil {
		return out, err
	}
	var r workload.Result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return out, fmt.Errorf("the measured process printed %q: %w", stdout.String(), err)
	}
	input := workload.Input{Workload: name, Records: f.records, Keys: f.keys, Seed: f.seed}
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime() + after.cpu - before.cpu
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return benchResult{
		Workload: name, Records: f.records, Keys: f.keys, Emit: f.emit,
		RecordsPerSecond: float64(f.records) / r.Seconds,
		CPUMicros:        float64(cpu.Nanoseconds()) / 1000 / float64(f.records),
		PeakRSSMiB:       float64(usage.Maxrss) / 1024,
		WriteRatio:       float64(r.WrittenBytes+after.written-before.written) / float64(input.InputBytes()),
		CommitP50Ms:      r.CommitP50Ms, CommitP99Ms: r.CommitP99Ms, FirstRecordMs: r.FirstRecordMs,
	}, nil
}
