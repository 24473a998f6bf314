package embedded_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime"
	"github.com/levada/levada/runtime/logclient"
)

// faultyLog is a log some of whose commits fail.
type faultyLog struct {
	logclient.Log
	joins, commits int
	// fault says how the n-th commit fails: without effect, or with another
	// answer than the truth.
	fault func(n int) (err error, after bool)
}

func (l *faultyLog) Join(c logclient.MemberConfig) (logclient.Member, error) {
	l.joins++
	m, err := l.Log.Join(c)
	return &faultyMember{m, l}, err
}

type faultyMember struct {
	logclient.Member
	log *faultyLog
}

func (m *faultyMember) Commit(positions []logclient.Position) *logclient.Pending[logclient.CommitResult] {
	m.log.commits++
	err, after := m.log.fault(m.log.commits)
	if err != nil && !after {
		return logclient.Resolved(logclient.CommitResult{}, err)
	}
	p := m.Member.Commit(positions)
	if err == nil {
		return p
	}
	failed := logclient.NewPending[logclient.CommitResult]()
	p.OnDone(func() { failed.Resolve(logclient.CommitResult{}, err) })
	return failed
}

func counting(d *dsl.Builder) {
	in.Stream(d).GroupByKey().Count("counts").Stream().To(dsl.NewTopic("out", serde.String{}, serde.Int64{}))
}

// TestFailedCommits lets every third commit fail in one of the ways of a log:
// whatever is answered, every record is counted once.
func TestFailedCommits(t *testing.T) {
	lost := errors.New("the connection broke")
	for name, tt := range map[string]struct {
		err     error
		after   bool
		rejoins bool
	}{
		"aborted":              {err: logclient.ErrAborted},
		"fenced":               {err: logclient.ErrFenced, rejoins: true},
		"unknown, not done":    {err: lost, rejoins: true},
		"unknown, and done":    {err: lost, after: true, rejoins: true},
		"unreachable and done": {err: fmt.Errorf("%w: %w", logclient.ErrUnreachable, lost), after: true, rejoins: true},
	} {
		t.Run(name, func(t *testing.T) {
			faulty := &faultyLog{fault: func(n int) (error, bool) {
				if n%3 == 0 {
					return tt.err, tt.after
				}
				return nil, false
			}}
			b := newBench(t, plan(t, counting), func(c *runtime.Config) {
				faulty.Log, c.Log = c.Log, faulty
				c.CommitInterval = 5 * time.Millisecond
			})
			for range 10 {
				b.write("load", "k", numbers(30)...)
				b.drain()
			}
			records := b.read("out")
			for i, r := range records {
				if n, err := (serde.Int64{}).Decode(r.Value); err != nil || n != int64(i+1) {
					t.Fatalf("result %d is %d, %v", i+1, n, err)
				}
			}
			if len(records) != 300 {
				t.Errorf("%d results of 300 records", len(records))
			}
			if faulty.commits < 9 {
				t.Errorf("%d commits, want some that fail", faulty.commits)
			}
			if rejoined := faulty.joins > 1; rejoined != tt.rejoins {
				t.Errorf("joined %d times after %d commits", faulty.joins, faulty.commits)
			}
		})
	}
}

// TestTooLargeEndsTheApplication: a result that its topic does not take is told
// with the topic, the sizes and the mend, and nothing is lost.
func TestTooLargeEndsTheApplication(t *testing.T) {
	b := newBench(t, plan(t, func(d *dsl.Builder) { in.Stream(d).To(dsl.NewTopic("out", serde.String{}, serde.String{})) }), nil)
	small := []logclient.TopicSpec{{Name: "small", Partitions: 1, ReplicationFactor: -1, Configs: map[string]string{"max.message.bytes": "1000"}}}
	if _, err := b.log.Admin().CreateTopics(small).Result(); err != nil {
		t.Fatal(err)
	}
	b.cfg.Topology = plan(t, func(d *dsl.Builder) { in.Stream(d).To(dsl.NewTopic("small", serde.String{}, serde.String{})) })
	b.cfg.App = "copies"
	b.start()
	b.write("load", "k", strings.Repeat("x", 2000))
	var err error
	for i := 0; i < 10_000 && err == nil; i++ {
		err = b.step()
	}
	for _, want := range []string{"topic small takes 1000", "a batch of 20", "max.message.bytes"} {
		if !errors.Is(err, logclient.ErrTooLarge) || !strings.Contains(err.Error(), want) {
			t.Errorf("the application ended with %v, want ErrTooLarge and %q", err, want)
		}
	}
	if records := b.read("small"); len(records) != 0 {
		t.Errorf("%d records in the topic", len(records))
	}
}

// TestTooLargeIsNotReplayed: a log may tell at the commit that a batch was too
// large, and that the transaction is aborted. It would be again.
func TestTooLargeIsNotReplayed(t *testing.T) {
	faulty := &faultyLog{fault: func(int) (error, bool) {
		return fmt.Errorf("%w: %w", logclient.ErrAborted, logclient.ErrTooLarge), false
	}}
	b := newBench(t, plan(t, counting), func(c *runtime.Config) { faulty.Log, c.Log = c.Log, faulty })
	b.write("load", "k", "v")
	var err error
	for i := 0; i < 10_000 && err == nil; i++ {
		err = b.step()
	}
	if !errors.Is(err, logclient.ErrTooLarge) || faulty.commits != 1 {
		t.Errorf("the application ended after %d commits with %v, want ErrTooLarge after the first", faulty.commits, err)
	}
}

// TestUncommittedBytesAreBounded: what is not committed stays under its bound,
// however long the interval is.
func TestUncommittedBytesAreBounded(t *testing.T) {
	for name, emit := range map[string]bool{"outputs": true, "state": false} {
		t.Run(name, func(t *testing.T) {
			faulty := &faultyLog{fault: func(int) (error, bool) { return nil, false }}
			b := newBench(t, plan(t, func(d *dsl.Builder) {
				if emit {
					in.Stream(d).To(dsl.NewTopic("out", serde.String{}, serde.String{}))
					return
				}
				in.Stream(d).GroupByKey().Reduce("last", func(_, v string) string { return v })
			}), func(c *runtime.Config) {
				faulty.Log, c.Log = c.Log, faulty
				c.CommitInterval, c.UncommittedBytes = time.Hour, 64<<10
			})
			begin := b.now
			for i := range 40 {
				b.write("load", fmt.Sprint("k", i), strings.Repeat("x", 100_000))
			}
			for faulty.commits < 30 && b.now.Sub(begin) < 40*time.Minute {
				if err := b.step(); err != nil {
					t.Fatal(err)
				}
			}
			// By the interval, which doubles from 10 ms to an hour, 13 commits would be due.
			if took := b.now.Sub(begin); faulty.commits < 30 || took > time.Minute {
				t.Errorf("%d commits in %v of 4 MB with a bound of 64 KiB", faulty.commits, took)
			}
		})
	}
}
