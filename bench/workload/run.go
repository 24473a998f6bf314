package workload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/levada/levada/internal/murmur2"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/launch"
	"github.com/levada/levada/runtime/logclient"
)

// Config is one run of a workload.
type Config struct {
	Input          Input
	Partitions     int32
	Workers        int
	CommitInterval time.Duration
	EmitOnCommit   bool
	Brokers        []string // empty: a broker in this process
	Dir            string   // for LogDir and StateDir
	Logger         *slog.Logger
}

// Folders in Config.Dir.
const (
	LogDir   = "log"  // of the broker in this process
	StateDir = "apps" // of the application
)

func (c Config) openLog(ctx context.Context) (*launch.Log, error) {
	return launch.OpenLog(ctx, launch.LogConfig{Brokers: c.Brokers, Dir: filepath.Join(c.Dir, LogDir), Logger: c.Logger})
}

// Preload makes the topics and writes the input, in fresh topics.
func Preload(ctx context.Context, c Config) error {
	log, err := c.openLog(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	admin := log.Admin()
	names := []string{InputTopic, OutputTopic, c.app() + "-counts-changelog", c.app() + "-counts-repartition"}
	if _, err := admin.DeleteTopics(names).Wait(ctx); err != nil {
		return err
	}
	specs := []logclient.TopicSpec{
		{Name: InputTopic, Partitions: c.Partitions, ReplicationFactor: -1, Configs: map[string]string{"retention.ms": "-1"}},
		{Name: OutputTopic, Partitions: c.Partitions, ReplicationFactor: -1, Configs: map[string]string{"retention.ms": "-1"}},
	}
	if _, err := admin.CreateTopics(specs).Wait(ctx); err != nil {
		return err
	}
	w, err := log.NewWriter(logclient.WriterConfig{TransactionalID: "bench-preload", TransactionTimeout: time.Minute})
	if err != nil {
		return err
	}
	defer w.Close()
	l := &loader{ctx: ctx, writer: w, builders: make([]recordbatch.Builder, c.Partitions)}
	c.Input.Walk(l.add)
	return errors.Join(l.err, l.commit())
}

func (c Config) app() string { return "bench-" + c.Input.Workload }

const (
	loadBatchBytes  = 512 << 10
	loadCommitBytes = 64 << 20
)

// loader writes the input in transactions.
type loader struct {
	ctx      context.Context
	writer   logclient.Writer
	builders []recordbatch.Builder
	bytes    int
	turn     int32
	err      error
}

func (l *loader) add(r Record) bool {
	p := l.turn
	if r.Key != nil {
		p = murmur2.Partition(r.Key, int32(len(l.builders)))
	} else {
		l.turn = (l.turn + 1) % int32(len(l.builders))
	}
	l.builders[p].Append(r.TimestampMs, r.Key, r.Value, nil)
	if l.builders[p].SizeBytes() >= loadBatchBytes {
		l.err = l.flush(p)
		if l.err == nil && l.bytes >= loadCommitBytes {
			l.err = l.commit()
		}
	}
	return l.err == nil
}

func (l *loader) flush(p int32) error {
	batch := l.builders[p].Batch()
	if batch == nil {
		return nil
	}
	l.bytes += len(batch)
	return l.writer.Append(logclient.TopicPartition{Topic: InputTopic, Partition: p}, batch)
}

func (l *loader) commit() error {
	for p := range l.builders {
		if err := l.flush(int32(p)); err != nil {
			return err
		}
	}
	l.bytes = 0
	_, err := l.writer.Commit(nil).Wait(l.ctx)
	return err
}

// Result is what the process that runs the topology measures of itself.
type Result struct {
	Seconds     float64 `json:"seconds"` // from the first record read to the last commit
	CommitP50Ms float64 `json:"commit_p50_ms"`
	CommitP99Ms float64 `json:"commit_p99_ms"`
	// FirstRecordMs is from the start of the process to the first record that a
	// read_committed reader of the output got.
	FirstRecordMs float64 `json:"first_record_ms"`
	// WrittenBytes is what the process caused to be written to storage.
	WrittenBytes int64 `json:"written_bytes"`
}

// Run runs the topology over the preloaded input to its end and flushes the
// stores. started is when the process began.
func Run(ctx context.Context, c Config, started time.Time) (Result, error) {
	var r Result
	plan, err := Topology(c.Input.Workload, c.EmitOnCommit)
	if err != nil {
		return r, err
	}
	log, err := c.openLog(ctx)
	if err != nil {
		return r, err
	}
	defer log.Close()
	process, err := launch.Open(filepath.Join(c.Dir, StateDir), runtime.Config{
		App: c.app(), Topology: plan, Log: log, Workers: c.Workers, CommitInterval: c.CommitInterval, Logger: c.Logger, LeaveOnClose: true,
	})
	if err != nil {
		return r, err
	}
	first := make(chan time.Time, 1)
	watchCtx, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	go watchFirst(watchCtx, log, c.Partitions, first)
	begin := time.Now()
	if err := process.RunToEnd(ctx, nil, nil); err != nil {
		return r, errors.Join(err, process.Close())
	}
	r.Seconds = time.Since(begin).Seconds()
	stats := process.App.Stats()
	r.CommitP50Ms, r.CommitP99Ms = milliseconds(stats.CommitP50), milliseconds(stats.CommitP99)
	select {
	case at := <-first:
		r.FirstRecordMs = milliseconds(at.Sub(started))
	case <-time.After(time.Second):
		return r, errors.Join(errors.New("no record of the output was seen"), process.Close())
	}
	if err := process.Close(); err != nil { // flushes
		return r, err
	}
	r.WrittenBytes, err = WrittenBytes(os.Getpid())
	return r, err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// watchFirst reads the output until there is a committed record.
func watchFirst(ctx context.Context, log logclient.Log, partitions int32, first chan<- time.Time) {
	var from []logclient.Position
	for p := range partitions {
		from = append(from, logclient.Position{TopicPartition: logclient.TopicPartition{Topic: OutputTopic, Partition: p}, LeaderEpoch: -1})
	}
	r, err := log.NewReader(logclient.ReaderConfig{Positions: from})
	if err != nil {
		return
	}
	defer r.Close()
	for ctx.Err() == nil {
		for _, b := range r.Poll(time.Now()).Batches {
			if b.Raw != nil || len(b.Records) > 0 {
				first <- time.Now()
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-r.Wake():
		case <-time.After(time.Millisecond):
		}
	}
}

// Verify reads the output back, read_committed, and compares it with the
// recomputation.
func Verify(ctx context.Context, c Config) error {
	log, err := c.openLog(ctx)
	if err != nil {
		return err
	}
	defer log.Close()
	expect := Expect(c.Input, !c.EmitOnCommit, c.Partitions, func(key []byte) int32 { return murmur2.Partition(key, c.Partitions) })
	err = launch.Read(ctx, log, OutputTopic, func(p int32, r *recordbatch.Record) error {
		return expect.Output(p, r.Key, r.Value)
	})
	if err != nil {
		return fmt.Errorf("the output is wrong: %w", err)
	}
	if err := expect.Finish(); err != nil {
		return fmt.Errorf("the output is wrong: %w", err)
	}
	return nil
}

// InputBytes is the size of the input's keys and values.
func (in Input) InputBytes() int64 {
	if in.Workload != WordCount {
		return in.Records * (KeySize + ValueSize)
	}
	var n int64
	in.Walk(func(r Record) bool { n += int64(len(r.Value)); return true })
	return n
}

// WrittenBytes is what a process has caused to be written to storage so far.
func WrittenBytes(pid int) (int64, error) {
	name := fmt.Sprintf("/proc/%d/io", pid)
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		var n int64
		if _, err := fmt.Sscanf(string(line), "write_bytes: %d", &n); err == nil {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s has no write_bytes", name)
}
