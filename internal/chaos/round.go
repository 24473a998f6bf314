package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/internal/checker"
)

// round is one round: its topics, its clients and what they saw.
type round struct {
	run     *run
	number  int
	r       *recorder
	rng     *rand.Rand
	admin   *kadm.Client
	in, out string // of the pipeline; others write to in too
	mix     string
	group   string
	ids     []string // transactional ids of all producers
}

func (rd *round) topics() []string { return []string{rd.in, rd.out, rd.mix} }

func (rd *round) worker() worker {
	return worker{
		r: rd.r, rng: rand.New(rand.NewPCG(rd.rng.Uint64(), rd.rng.Uint64())), address: rd.run.proxy.address(), process: rd.r.newProcess(),
	}
}

// newID is a transactional id of this round.
func (rd *round) newID() string {
	id := fmt.Sprintf("r%d-%d", rd.number, len(rd.ids))
	rd.ids = append(rd.ids, id)
	return id
}

// playRound runs a round to its end and returns what was found. An error says
// that the round could not be played.
func (run *run) playRound(ctx context.Context, number, kills int) (*checker.Report, []checker.Op, error) {
	rd := &round{
		run: run, number: number, r: newRecorder(), rng: rand.New(rand.NewPCG(run.config.Seed, uint64(number))),
		in: fmt.Sprintf("in.%d", number), out: fmt.Sprintf("out.%d", number), mix: fmt.Sprintf("mix.%d", number), group: fmt.Sprintf("pipeline.%d", number),
	}
	run.server.setDied(func(err error) { rd.r.find(ServerDied, "%v", err) })
	w := rd.worker()
	client, err := kgo.NewClient(w.options()...)
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	rd.admin = kadm.NewClient(client)
	if err := rd.create(ctx); err != nil {
		return nil, nil, err
	}
	if err := rd.play(ctx, kills); err != nil {
		rd.r.find(ServerDied, "%v", err)
	}
	report := checker.Check(rd.r.history())
	report.Merge(rd.r.anomalies())
	if report.OK() {
		rd.forget(ctx)
	}
	return report, rd.r.history(), nil
}

func (rd *round) create(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, opTimeout)
	defer cancel()
	made, err := rd.admin.CreateTopics(ctx, partitions, 1, nil, rd.topics()...)
	if err == nil {
		err = made.Error()
	}
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	return nil
}

// forget deletes what the round has made, so that a run can go on for long.
func (rd *round) forget(ctx context.Context) {
	// Static members stay when they end; those that are none are not known.
	_, err1 := rd.admin.LeaveGroup(ctx, kadm.LeaveGroup(rd.group).InstanceIDs(rd.ids...))
	topics, err2 := rd.admin.DeleteTopics(ctx, rd.topics()...)
	groups, err3 := rd.admin.DeleteGroups(ctx, rd.group)
	if err := errors.Join(err1, err2, err3, topics.Error(), groups.Error()); err != nil {
		rd.run.config.Log("  something of the round stays: %v", err)
	}
}

// play loads the server and strikes it, heals it, and reads all to the end.
func (rd *round) play(ctx context.Context, kills int) error {
	run := rd.run
	writing, stopWriting := context.WithCancel(ctx)
	piping, stopPiping := context.WithCancel(ctx)
	reading, stopReading := context.WithCancel(ctx)
	defer stopWriting()
	defer stopPiping()
	defer stopReading()
	var writers, pipes, readers sync.WaitGroup
	rd.start(writing, &writers, rd.writers())
	rd.start(piping, &pipes, []runner{rd.pipeline(), rd.pipeline()})
	rd.start(reading, &readers, rd.readers())

	run.proxy.set(run.server.address, faults)
	err := run.nemesis.run(ctx, rd.r, run.nemesis.plan(kills))
	run.proxy.set(run.server.address, plan{})
	if err == nil && !run.server.alive() {
		err = run.server.start() // to see what is left
	}
	stopWriting()
	writers.Wait()
	rd.run.config.Log("  %d acknowledged; healed, and the writers have ended", rd.r.committed.Load())
	if err == nil {
		rd.finish(ctx, func() { stopPiping(); pipes.Wait() })
	}
	stopPiping()
	stopReading()
	pipes.Wait()
	readers.Wait()
	return err
}

type runner interface{ run(ctx context.Context) }

func (rd *round) start(ctx context.Context, wg *sync.WaitGroup, runners []runner) {
	for _, r := range runners {
		wg.Go(func() { r.run(ctx) })
	}
}

func (rd *round) writers() []runner {
	return []runner{
		&txnProducer{rd.worker(), rd.newID(), []string{rd.in, rd.mix}},
		&txnProducer{rd.worker(), rd.newID(), []string{rd.in, rd.mix}},
		&txnProducer{rd.worker(), rd.newID(), []string{rd.mix}},
		&plainProducer{rd.worker(), []string{rd.in, rd.mix}},
		&plainProducer{rd.worker(), []string{rd.mix}},
		&zombies{rd.worker(), rd.worker(), rd.newID(), []string{rd.mix}},
	}
}

func (rd *round) readers() []runner {
	return []runner{
		&consumer{rd.worker(), rd.topics(), false},
		&consumer{rd.worker(), []string{rd.mix}, false},
		&consumer{rd.worker(), rd.topics(), true},
	}
}

func (rd *round) pipeline() runner {
	return &pipeline{worker: rd.worker(), id: rd.newID(), group: rd.group, in: rd.in, out: rd.out, static: rd.rng.IntN(4) > 0}
}

// finish reads everything, once all writers have ended.
func (rd *round) finish(ctx context.Context, stopPipeline func()) {
	w := rd.worker()
	settled, cancel := context.WithTimeout(ctx, rd.r.patience(settleTimeout))
	settle(settled, rd.r, &w, rd.writerIDs())
	cancel()
	rd.run.config.Log("  nothing is left open")
	inputs := drain(ctx, w, ends(ctx, rd.r, rd.admin, []string{rd.in}), false, rd.in)
	rd.caughtUp(ctx, inputs)
	stopPipeline()
	rd.run.config.Log("  the pipeline has ended")
	settled, cancel = context.WithTimeout(ctx, rd.r.patience(settleTimeout))
	settle(settled, rd.r, &w, rd.ids)
	cancel()
	at := ends(ctx, rd.r, rd.admin, rd.topics())
	outputs := drain(ctx, w, at, false, rd.topics()...)
	drain(ctx, w, at, true, rd.topics()...)
	if rd.number%4 == 0 {
		rd.run.secondReader(ctx, rd.r, rd.topics())
	}
	rd.processedOnce(ctx, inputs, outputs)
}

// writerIDs are the transactional ids of those that are not of the pipeline,
// which goes on for a while.
func (rd *round) writerIDs() []string { return rd.ids[:len(rd.ids)-2] }

// committed are the offsets of the pipeline.
func (rd *round) committed(ctx context.Context) (map[string]int64, error) {
	offsets, err := rd.admin.FetchOffsets(ctx, rd.group)
	if err == nil {
		err = offsets.Error()
	}
	at := map[string]int64{}
	offsets.Each(func(o kadm.OffsetResponse) { at[key(o.Topic, o.Partition)] = o.At })
	return at, err
}

// caughtUp waits until the pipeline has processed all inputs.
func (rd *round) caughtUp(ctx context.Context, inputs map[string][]drained) {
	ctx, cancel := context.WithTimeout(ctx, rd.r.patience(progressTimeout))
	defer cancel()
	for {
		at, err := rd.committed(ctx)
		var behind []string
		for _, k := range keysOf(rd.in) {
			if n := len(inputs[k]); n > 0 && at[k] <= inputs[k][n-1].offset {
				behind = append(behind, fmt.Sprintf("%s at %d of %d", k, at[k], inputs[k][n-1].offset+1))
			}
		}
		if err == nil && len(behind) == 0 {
			return
		}
		if !tick(ctx, 50*time.Millisecond) {
			rd.r.find(Stalled, "the pipeline did not come to the end of its input: %v %v", behind, err)
			return
		}
	}
}

// processedOnce compares the inputs with the outputs and the offsets.
func (rd *round) processedOnce(ctx context.Context, inputs, outputs map[string][]drained) {
	ctx, cancel := context.WithTimeout(ctx, rd.r.patience(settleTimeout))
	defer cancel()
	committed, err := rd.committed(ctx)
	if err != nil {
		rd.r.find(Stalled, "the offsets of the pipeline: %v", err)
		return
	}
	offsets := map[string][]int64{}
	for k, records := range inputs {
		for _, record := range records {
			offsets[k] = append(offsets[k], record.offset)
		}
	}
	var made []checker.Output
	for _, k := range keysOf(rd.out) {
		for _, record := range outputs[k] {
			made = append(made, checker.Output{Key: k, Offset: record.offset, Source: record.source, SourceOffset: record.sourceOffset})
		}
	}
	rd.r.add(checker.Pipeline(offsets, made, committed))
}
