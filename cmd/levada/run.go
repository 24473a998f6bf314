package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	gojson "github.com/goccy/go-json"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/pipelines"
	"github.com/levada/levada/pipelines/run"
	"github.com/levada/levada/runtime/launch"
)

type runFlags struct {
	data, brokers string
	workers, top  int
	untilEnd      bool
	leave         bool
}

func (a *app) runCommand() *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use: "run FILE", Short: "Run a pipeline file, with its connectors", Args: cobra.ExactArgs(1),
		Long: "Runs a pipeline on a broker in this process, or with --brokers on any Kafka cluster. Stop it at any time, by whatever means, and\n" +
			"start it again: it goes on where it was.",
		Example: "  levada run examples/wordcount/pipeline.yaml --until-end --top 20",
		RunE:    func(c *cobra.Command, args []string) error { return a.runPipeline(c, args[0], f) },
	}
	c.Flags().StringVar(&f.data, "data", "data", "directory for state, and for the log if it is embedded")
	c.Flags().StringVarP(&f.brokers, "brokers", "b", "", "brokers, HOST:PORT,… (default: a broker in this process)")
	c.Flags().IntVar(&f.workers, "workers", 0, "workers (default: the file's)")
	c.Flags().BoolVar(&f.untilEnd, "until-end", false, "end when the sources have ended (one with follow: true does not) and everything is processed")
	c.Flags().IntVar(&f.top, "top", 0, "at the end print so many of the largest values of the last output topic")
	c.Flags().BoolVar(&f.leave, "leave", false, "give the partitions to other processes at once when this one stops, instead of keeping its place")
	return c
}

func (a *app) runPipeline(c *cobra.Command, file string, f *runFlags) error {
	if f.top > 0 && !f.untilEnd {
		return inputError(errors.New("--top needs --until-end"))
	}
	plan, found := load(file)
	fmt.Fprint(c.ErrOrStderr(), found.String())
	if plan == nil {
		return inputError(&reportedError{fmt.Errorf("%s has errors", file)})
	}
	logger := a.logger(true)
	cfg := launch.LogConfig{Dir: filepath.Join(f.data, "log"), Broker: logbroker.Config{DefaultPartitions: 4}, Logger: logger}
	if f.brokers != "" {
		cfg.Brokers = strings.Split(f.brokers, ",")
	}
	log, err := launch.OpenLog(c.Context(), cfg)
	if err != nil {
		return environmentError(err)
	}
	defer log.Close()
	show := a.newProgress(c.ErrOrStderr())
	if a.output == "table" {
		fmt.Fprint(c.OutOrStdout(), way(plan, f.brokers))
	}
	began := time.Now()
	var last run.Progress
	err = run.Pipeline(c.Context(), plan, run.Options{
		Log: log, Dir: filepath.Join(f.data, "apps"), Workers: f.workers, UntilEnd: f.untilEnd, LeaveOnClose: f.leave, Logger: logger,
		Progress: func(p run.Progress) {
			last = p
			show.update(p, time.Since(began))
		},
	})
	show.end(err == nil && f.untilEnd)
	if err != nil {
		return err
	}
	if !f.untilEnd {
		return nil
	}
	return a.finished(c, plan, log, f, last, time.Since(began))
}

// plumbing are the kinds of nodes that no step of a pipeline file stands for.
var plumbing = map[string]bool{
	"source": true, "sink": true, "table": true, "to": true, "arguments": true, "withSerdes": true, "repartition": true, "toStream": true, "result": true,
}

// way prints the way that the data goes.
func way(plan *pipelines.Plan, brokers string) string {
	var b strings.Builder
	where := "a broker in this process"
	if brokers != "" {
		where = brokers
	}
	fmt.Fprintf(&b, "%s, %s, on %s\n", plan.Name, strings.ReplaceAll(string(plan.Guarantee), "_", " "), where)
	for _, s := range plan.Sources {
		fmt.Fprintf(&b, "  source %s (%s) -> %s\n", s.Name, s.Plugin, s.Topic)
	}
	for _, sub := range plan.Topology.Subtopologies {
		var in, steps, out []string
		for _, s := range sub.Sources {
			in = append(in, s.Topic.Name)
		}
		for _, n := range sub.Nodes {
			if !plumbing[n.Kind] {
				steps = append(steps, n.Kind)
			}
		}
		for _, s := range sub.Sinks {
			out = append(out, s.Topic.Name)
		}
		fmt.Fprintf(&b, "  %s -> %s -> %s\n", strings.Join(in, " + "), strings.Join(slices.Compact(steps), ", "), strings.Join(out, " + "))
	}
	for _, s := range plan.Sinks {
		fmt.Fprintf(&b, "  %s -> sink %s (%s)\n", s.Topic, s.Name, s.Plugin)
	}
	return b.String()
}

// progress keeps one line on a terminal up to date; elsewhere it writes a line
// a second, and the last unless the totals follow.
type progress struct {
	w     io.Writer
	shown bool // false: the output is for a program
	live  bool
	line  string
	told  string        // of the last line that was printed
	next  time.Duration // when the next line is due
}

func (a *app) newProgress(w io.Writer) *progress {
	return &progress{w: w, shown: a.output == "table", live: term.IsTerminal(int(os.Stderr.Fd())), next: time.Second}
}

func (p *progress) update(s run.Progress, took time.Duration) {
	p.line = fmt.Sprintf("  %d records in, %d out, %d commits, %.1f s", s.Topology.RecordsIn, s.Topology.RecordsOut, s.Topology.Commits, took.Seconds())
	if n := s.Topology.DeadLetters; n > 0 {
		p.line += fmt.Sprintf(", %d dead letters", n)
	}
	switch {
	case !p.shown:
	case p.live:
		fmt.Fprint(p.w, "\r\x1b[K"+p.line)
	case took >= p.next:
		p.next = took + time.Second
		p.print()
	}
}

// end leaves the last line, or, if the totals follow, which say the same, takes it
// away.
func (p *progress) end(totals bool) {
	switch {
	case !p.shown || p.line == "":
	case p.live && totals:
		fmt.Fprint(p.w, "\r\x1b[K")
	case totals:
	case p.live:
		fmt.Fprintln(p.w)
	default:
		p.print()
	}
}

// print writes the line unless it tells what the last one told.
func (p *progress) print() {
	if told, _, _ := strings.Cut(p.line, " commits"); told != p.told {
		p.told = told
		fmt.Fprintln(p.w, p.line)
	}
}

// ranked is a key and its value.
type ranked struct {
	Key   string  `json:"key"`
	Value float64 `json:"value"`
}

// finished prints what a run to the end came to.
func (a *app) finished(c *cobra.Command, plan *pipelines.Plan, log *launch.Log, f *runFlags, last run.Progress, took time.Duration) error {
	rate := float64(last.Topology.RecordsIn) / took.Seconds()
	result := map[string]any{
		"pipeline": plan.Name, "records_in": last.Topology.RecordsIn, "records_out": last.Topology.RecordsOut, "commits": last.Topology.Commits,
		"restored": last.Topology.Restored, "dead_letters": last.Topology.DeadLetters, "seconds": took.Seconds(), "records_per_second": rate,
	}
	var rows []ranked
	if topic := lastOutput(plan); f.top > 0 && topic != "" {
		var err error
		if rows, err = largest(c.Context(), log, topic, f.top); err != nil {
			return err
		}
		result["top"] = rows
	}
	if a.output == "json" {
		return a.print(c.OutOrStdout(), result, table{})
	}
	fmt.Fprintf(c.OutOrStdout(), "\n  %d records in, %d out, %d commits, %d restored, %.2f s, %.0f records/s\n\n",
		last.Topology.RecordsIn, last.Topology.RecordsOut, last.Topology.Commits, last.Topology.Restored, took.Seconds(), rate)
	if len(rows) > 0 {
		t := table{header: []string{"KEY", "VALUE"}}
		for _, r := range rows {
			t.rows = append(t.rows, []string{r.Key, strconv.FormatFloat(r.Value, 'f', -1, 64)})
		}
		if err := a.print(c.OutOrStdout(), nil, t); err != nil {
			return err
		}
	}
	look := fmt.Sprintf("%s server --data %s     (then: %[1]s topic list)", program, filepath.Join(f.data, "log"))
	where := ""
	if f.brokers != "" {
		where = " -b " + f.brokers
		look = program + " topic list" + where
	}
	fmt.Fprintf(c.OutOrStdout(), "\nTry next:\n  %s run %s --until-end --top 5%s     (again: nothing is counted twice)\n  %[1]s check %[2]s\n  %[4]s\n",
		program, c.Flags().Arg(0), where, look)
	return nil
}

// lastOutput is the topic that the last subtopology writes.
func lastOutput(plan *pipelines.Plan) string {
	subs := plan.Topology.Subtopologies
	for i := len(subs) - 1; i >= 0; i-- {
		if n := len(subs[i].Sinks); n > 0 {
			return subs[i].Sinks[n-1].Topic.Name
		}
	}
	return ""
}

// largest reads a topic as a table and returns the keys with the largest
// values: a number, or the first number of an object.
func largest(ctx context.Context, log *launch.Log, topic string, n int) ([]ranked, error) {
	rows, err := launch.ReadTable(ctx, log, topic)
	if err != nil {
		return nil, err
	}
	var out []ranked
	for key, value := range rows {
		if v, ok := numberIn(value); ok {
			out = append(out, ranked{key, v})
		}
	}
	slices.SortFunc(out, func(a, b ranked) int { return cmp.Or(cmp.Compare(b.Value, a.Value), cmp.Compare(a.Key, b.Key)) })
	return out[:min(n, len(out))], nil
}

// numberIn is a JSON number, or the number of the alphabetically first field
// that is one.
func numberIn(value []byte) (float64, bool) {
	var v any
	if err := gojson.Unmarshal(value, &v); err != nil {
		return 0, false
	}
	switch v := v.(type) {
	case float64:
		return v, true
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if f, ok := v[name].(float64); ok {
				return f, true
			}
		}
	}
	return 0, false
}
