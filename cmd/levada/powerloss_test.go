package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/planted"
	"github.com/levada/levada/internal/powerloss"
)

// outages lives through power losses of the real server on a real file system, and
// keeps the books of what it acknowledged.
type outages struct {
	t      *testing.T
	disk   *powerloss.Disk
	binary string
	env    []string
	rng    *rand.Rand
	ledger *ledger
	said   bytes.Buffer // by the server that runs
}

func newOutages(t *testing.T, binary string, env ...string) *outages {
	needsE2E(t)
	if err := powerloss.Available(); err != nil {
		t.Skip(err)
	}
	disk, err := powerloss.Mount(t.TempDir(), 512<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	return &outages{t: t, disk: disk, binary: binary, env: env, rng: rand.New(rand.NewPCG(seed, 1)), ledger: newLedger()}
}

const (
	outageTopic      = "t"
	outagePartitions = 8
	outageAlone      = 5 // partitions that are also written outside transactions
	outageIDs        = 3 // transactional ids
)

func (o *outages) start() *server {
	cmd := exec.Command(o.binary, "server", "--data", filepath.Join(o.disk.Path(), "data"), "--listen", "127.0.0.1:0", "--output", "json")
	cmd.Env = append(os.Environ(), o.env...)
	o.said.Reset()
	cmd.Stderr = &o.said
	return startCommand(o.t, cmd)
}

// run lives through a number of power losses and returns what is wrong after one.
func (o *outages) run(cycles int) error {
	s := o.start()
	mustLevada(o.t, "", "topic", "create", outageTopic, "-p", fmt.Sprint(outagePartitions), "-b", s.address)
	for n := range cycles {
		producers := o.load(s, n)
		if err := o.disk.Remount(); err != nil {
			o.t.Fatal(err)
		}
		s = o.start()
		if err := o.check(s, producers, n); err != nil {
			_ = s.signal(syscall.SIGKILL) // and all it says is there
			return fmt.Errorf("power loss %d: %w\n%s", n, err, o.said.String())
		}
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: %w", err)
	}
	return nil
}

// load writes until the power is cut, at a random moment, and the server has ended:
// by itself, because it cannot write any more, or killed. It returns who the
// transactional producers were.
func (o *outages) load(s *server, cycle int) []txnProducer {
	ctx, stop := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	first := make(chan struct{}, outageAlone+outageIDs)
	for p := range int32(outageAlone) {
		writers.Go(func() { o.ledger.writeAlone(ctx, s.address, fmt.Sprintf("w%d-%d", cycle, p), p, first) })
	}
	producers := make([]txnProducer, outageIDs)
	for i := range producers {
		rng := rand.New(rand.NewPCG(o.rng.Uint64(), 2))
		writers.Go(func() { producers[i] = o.ledger.writeTxns(ctx, s.address, i, cycle, rng, first) })
	}
	for range cap(first) {
		select {
		case <-first:
		case <-time.After(20 * time.Second):
			stop()
			writers.Wait()
			o.t.Fatalf("not every writer had a write acknowledged within 20 s: %v", o.ledger.stop)
		}
	}
	<-time.After(time.Duration(o.rng.IntN(200_000)) * time.Microsecond) // the moment
	o.ledger.setCut(true)
	if err := o.disk.Cut(); err != nil {
		o.t.Fatal(err)
	}
	if cycle%2 == 0 {
		s.ended(2 * time.Second)
	} else {
		_ = s.signal(syscall.SIGKILL)
	}
	stop()
	writers.Wait()
	o.ledger.setCut(false)
	return producers
}

// ended waits for a server that cannot write to end by itself, which it does at
// the first sync that fails. If there was nothing to sync it only refuses writes,
// and is killed.
func (s *server) ended(within time.Duration) {
	s.t.Helper()
	kill := time.AfterFunc(within, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	if s.cmd.Wait() == nil {
		s.t.Error("the server ended without an error although it could not write")
	}
}

// check compares what the server has now with the books.
func (o *outages) check(s *server, producers []txnProducer, cycle int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, p := range producers {
		if err := p.isFenced(ctx, s.address); err != nil {
			return err
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.address), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RetryTimeout(10*time.Second))
	if err != nil {
		return err
	}
	defer client.Close()
	ends := map[int32]int64{}
	for p := range int32(outagePartitions) {
		value := fmt.Sprintf("end-%d-%d", cycle, p)
		r, err := client.ProduceSync(ctx, &kgo.Record{Topic: outageTopic, Partition: p, Value: []byte(value)}).First()
		if err != nil {
			return fmt.Errorf("partition %d takes no record any more: %w", p, err)
		}
		o.ledger.acknowledge(r)
		ends[p] = r.Offset
	}
	all, err := readTo(ctx, s.address, ends, kgo.ReadUncommitted(), kgo.KeepControlRecords())
	if err != nil {
		return err
	}
	committed, err := readTo(ctx, s.address, ends, kgo.ReadCommitted())
	if err != nil {
		return err
	}
	return errors.Join(dense(all), o.ledger.compare(committed))
}

// readTo reads every partition from its start to the offset.
func readTo(ctx context.Context, address string, ends map[int32]int64, level kgo.IsolationLevel, opts ...kgo.Opt) (map[int32][]*kgo.Record, error) {
	starts := map[int32]kgo.Offset{}
	for p := range ends {
		starts[p] = kgo.NewOffset().At(0)
	}
	client, err := kgo.NewClient(append(opts, kgo.SeedBrokers(address), kgo.FetchIsolationLevel(level), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{outageTopic: starts}))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records, left := map[int32][]*kgo.Record{}, len(ends)
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%d partitions cannot be read to their end: %w", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records[r.Partition] = append(records[r.Partition], r)
			if r.Offset == ends[r.Partition] {
				left--
			}
		})
	}
	return records, nil
}

// dense tells of an offset that was left out or given twice.
func dense(records map[int32][]*kgo.Record) error {
	for p, list := range records {
		for i, r := range list {
			if r.Offset != int64(i) {
				return fmt.Errorf("partition %d: record %d has offset %d", p, i, r.Offset)
			}
		}
	}
	return nil
}

// txnProducer is a producer as it was before the power was lost.
type txnProducer struct {
	id    string
	pid   int64
	epoch int16
}

// isFenced checks that nobody can commit what the producer had open.
func (p txnProducer) isFenced(ctx context.Context, address string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return err
	}
	defer client.Close()
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{p.id}
	answer, err := describe.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	state := answer.TransactionStates[0]
	if state.ErrorCode != 0 || state.State != "CompleteAbort" || state.ProducerID == p.pid && state.ProducerEpoch <= p.epoch {
		return fmt.Errorf("%s had producer %d epoch %d, and after the power loss it is %+v", p.id, p.pid, p.epoch, state)
	}
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = p.id, p.pid, p.epoch, true
	ended, err := end.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if ended.ErrorCode == 0 {
		return fmt.Errorf("%s commits under producer %d epoch %d of before the power loss", p.id, p.pid, p.epoch)
	}
	return nil
}

// TestServerLosesPower: what the server acknowledged before the power went is there
// once, transactions are there as a whole or not at all, offsets have no holes, and
// nobody commits what was open.
func TestServerLosesPower(t *testing.T) {
	if err := newOutages(t, binary).run(25); err != nil {
		t.Error(err)
	}
}

// TestPowerLossFindsPlantedFaults: the test before would see it if the server did
// not keep what it promises.
func TestPowerLossFindsPlantedFaults(t *testing.T) {
	needsE2E(t)
	sabotaged := filepath.Join(t.TempDir(), "levada")
	if out, err := exec.Command("go", "build", "-tags", "planted", "-o", sabotaged, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, f := range []planted.Fault{planted.SkipSync, planted.DecideEarly} {
		t.Run(string(f), func(t *testing.T) {
			err := newOutages(t, sabotaged, planted.Variable+"="+string(f)).run(40)
			if err == nil {
				t.Error("nothing was noticed")
			}
			t.Log(err)
		})
	}
}

// A program that was built without faults has none, whatever the environment says;
// one with them knows its names.
func TestFaultsArePlantedByName(t *testing.T) {
	t.Setenv(planted.Variable, "skip-lunch")
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Errorf("built without the tag: %v", err)
	}
}
