package logclienttest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/levada/levada/runtime/logclient"
)

// Env is where one subtest runs.
type Env struct {
	// Open opens the log as one more process would. The suite closes it.
	Open func(t *testing.T) logclient.Log
	// Kill ends the broker as SIGKILL would and starts it again on what it had
	// on disk. Logs opened before may be of no use after it, unless Survives.
	// Nil if that is not offered.
	Kill     func(t *testing.T)
	Survives bool
	// HoldOffset begins a transaction that sets the committed offset of a
	// group and leaves it open until end is called (see HoldOffset). Nil if
	// that is not offered.
	HoldOffset func(t *testing.T, group string, pos logclient.Position) (end func())
}

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// Run runs the suite; factory makes the environment of a subtest.
func Run(t *testing.T, factory func(t *testing.T) Env) {
	run(t, factory, topicTests, transactionTests, readingTests, memberTests, groupTests, crashTests)
}

// RunTransactions runs only what has to do with transactions, for an
// implementation that knows more than one protocol for them.
func RunTransactions(t *testing.T, factory func(t *testing.T) Env) {
	run(t, factory, transactionTests, memberTests)
}

func run(t *testing.T, factory func(t *testing.T) Env, groups ...[]subtest) {
	for _, group := range groups {
		for _, s := range group {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				env := factory(t)
				if s.lacks != nil {
					if reason := s.lacks(env); reason != "" {
						t.Skip(reason)
					}
				}
				s.run(newFixture(t, env))
			})
		}
	}
}

type subtest struct {
	name string
	run  func(*fixture)
	// lacks tells what the subtest needs that the environment does not offer;
	// nil: it needs nothing.
	lacks func(Env) string
}

// fixture is what every subtest starts with: one open log.
type fixture struct {
	*testing.T
	env    Env
	log    logclient.Log
	admin  logclient.Admin
	prefix string
}

var fixtures atomic.Int64 // makes names unique within the process

func newFixture(t *testing.T, env Env) *fixture {
	name := strings.ToLower(t.Name()[strings.LastIndexByte(t.Name(), '/')+1:])
	f := &fixture{T: t, env: env, prefix: fmt.Sprintf("%s-%x-%d", name, time.Now().UnixNano(), fixtures.Add(1))}
	f.log = f.open()
	f.admin = f.log.Admin()
	return f
}

// open opens the log once more; it is closed at the end.
func (f *fixture) open() logclient.Log {
	f.Helper()
	l := f.env.Open(f.T)
	f.Cleanup(func() {
		if err := l.Close(); err != nil {
			f.Errorf("close the log: %v", err)
		}
	})
	return l
}

// reopen goes on with a new log, after Kill.
func (f *fixture) reopen() {
	f.Helper()
	f.log = f.open()
	f.admin = f.log.Admin()
}

// name makes a name for a topic, group or transactional id.
func (f *fixture) name(what string) string { return f.prefix + "-" + what }

// topic creates a topic.
func (f *fixture) topic(what string, partitions int32) string {
	f.Helper()
	name := f.name(what)
	wait(f, f.admin.CreateTopics([]logclient.TopicSpec{{Name: name, Partitions: partitions, ReplicationFactor: -1}}))
	return name
}

// wait waits for a Pending that must succeed.
func wait[T any](f *fixture, p *logclient.Pending[T]) T {
	f.Helper()
	v, err := result(f, p)
	if err != nil {
		f.Fatal(err)
	}
	return v
}

// result waits for a Pending.
func result[T any](f *fixture, p *logclient.Pending[T]) (T, error) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	v, err := p.Wait(ctx)
	if ctx.Err() != nil && !p.Done() {
		f.Fatalf("no answer within %v", patience)
	}
	return v, err
}

func tp(topic string, partition int32) logclient.TopicPartition {
	return logclient.TopicPartition{Topic: topic, Partition: partition}
}

func at(tp logclient.TopicPartition, offset int64) logclient.Position {
	return logclient.Position{TopicPartition: tp, Offset: offset, LeaderEpoch: -1}
}

// offset asks where a partition stands.
func (f *fixture) offset(tp logclient.TopicPartition, kind logclient.OffsetKind) int64 {
	f.Helper()
	return wait(f, f.admin.ListOffsets([]logclient.TopicPartition{tp}, logclient.OffsetSpec{Kind: kind}))[tp].Offset
}

// committed asks for a committed position, stable: again while a transaction
// that may change it is being ended.
func (f *fixture) committed(group string, tp logclient.TopicPartition) (pos logclient.Position, ok bool) {
	f.Helper()
	f.eventually(func() bool {
		all, err := result(f, f.admin.CommittedOffsets(group, []logclient.TopicPartition{tp}, true))
		if err != nil && !errors.Is(err, logclient.ErrUnstable) {
			f.Fatal(err)
		}
		pos, ok = all[tp]
		return err == nil
	})
	return pos, ok
}

// end is the end of a partition once no transaction is open or being ended in
// it: in a cluster the markers follow the answer to a commit.
func (f *fixture) end(tp logclient.TopicPartition) (end int64) {
	f.Helper()
	f.eventually(func() bool {
		end = f.offset(tp, logclient.LatestStable)
		return end == f.offset(tp, logclient.LatestHigh)
	})
	return end
}

// eventually asks again until cond holds; each call must take its own time.
func (f *fixture) eventually(cond func() bool) {
	f.Helper()
	for deadline := time.Now().Add(patience); !cond(); {
		if time.Now().After(deadline) {
			f.Fatalf("not within %v", patience)
		}
	}
}
