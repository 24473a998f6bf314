package main

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/launch"
	"github.com/levada/levada/runtime/logclient"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	brokers := flag.String("brokers", "", "addresses of a Kafka cluster, HOST:PORT,… (default: a broker in this process)")
	data := flag.String("data", "data/wordcount", "directory for the log and the state")
	text := flag.String("text", "examples/wordcount/testdata/opticks.txt", "the text to count")
	top := flag.Int("top", 20, "how many words to print")
	flag.Parse()
	if err := run(ctx, *brokers, *data, *text, *top); err != nil {
		fmt.Fprintln(os.Stderr, "wordcount:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, brokers, data, text string, top int) error {
	plan, err := Topology()
	if err != nil {
		return err
	}
	cfg := launch.LogConfig{Dir: filepath.Join(data, "log")}
	if brokers != "" {
		cfg.Brokers = strings.Split(brokers, ",")
	}
	log, err := launch.OpenLog(ctx, cfg)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := load(ctx, log, text); err != nil {
		return fmt.Errorf("load %s: %w", text, err)
	}
	process, err := launch.Open(filepath.Join(data, "apps"), runtime.Config{App: "wordcount", Topology: plan, Log: log, Workers: 2})
	if err != nil {
		return err
	}
	defer process.Close()
	if err := process.RunToEnd(ctx, nil, nil); err != nil {
		return err
	}
	return printTop(ctx, log, top)
}

// load writes the lines of a text to the topic of lines, unless they are there
// already.
func load(ctx context.Context, log logclient.Log, path string) error {
	topics := []logclient.TopicSpec{
		{Name: Lines.Name(), Partitions: 4, ReplicationFactor: -1},
		{Name: Counts.Name(), Partitions: 4, ReplicationFactor: -1, Configs: map[string]string{"cleanup.policy": "compact"}},
	}
	if _, err := log.Admin().CreateTopics(topics).Wait(ctx); err != nil {
		return err
	}
	first := []logclient.TopicPartition{{Topic: Lines.Name()}}
	ends, err := log.Admin().ListOffsets(first, logclient.OffsetSpec{Kind: logclient.LatestStable}).Wait(ctx)
	if err != nil || ends[first[0]].Offset > 0 {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return launch.Write(ctx, log, "wordcount-loader", Lines.Name(), func(yield func(key, value []byte) bool) {
		for line := range bytes.Lines(text) {
			if !yield(nil, bytes.TrimRight(line, "\r\n")) {
				return
			}
		}
	})
}

// printTop prints the words that occur most often.
func printTop(ctx context.Context, log logclient.Log, n int) error {
	table, err := launch.ReadTable(ctx, log, Counts.Name())
	if err != nil {
		return err
	}
	type count struct {
		word string
		n    int64
	}
	var counts []count
	for word, value := range table {
		c, err := serde.Int64{}.Decode(value)
		if err != nil {
			return fmt.Errorf("count of %q: %w", word, err)
		}
		counts = append(counts, count{word, c})
	}
	slices.SortFunc(counts, func(a, b count) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.word, b.word))
	})
	for _, c := range counts[:min(n, len(counts))] {
		fmt.Printf("%-12s %d\n", c.word, c.n)
	}
	return nil
}
