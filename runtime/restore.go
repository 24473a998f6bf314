package runtime

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// Delays of the phases that have to ask again.
const (
	unstableRetry = 20 * time.Millisecond // an open transaction may change an offset
	busyRetry     = 5 * time.Millisecond  // another worker still holds a store
	restorePoll   = 2 * time.Millisecond  // a changelog has not delivered yet
)

// await makes a phase of a Pending: it waits for the result and hands it to
// then.
func await[T any](t *task, p *logclient.Pending[T], then func(now time.Time, value T, err error) (phase, error)) (phase, error) {
	p.OnDone(t.worker.signal)
	return func(now time.Time) (phase, error) {
		if !p.Done() {
			return nil, errWaiting
		}
		v, err := p.Result()
		return then(now, v, err)
	}, nil
}

// retry makes a phase that calls again after a delay.
func (t *task) retry(now time.Time, delay time.Duration, again phase) (phase, error) {
	t.retryAt = now.Add(delay)
	return func(now time.Time) (phase, error) {
		if now.Before(t.retryAt) {
			return nil, errWaiting
		}
		return again, nil
	}, nil
}

// findOwners reads who committed last: an owner that is gone may have left a
// transaction open.
func (t *task) findOwners(time.Time) (phase, error) {
	if t.worker.app.cfg.Guarantee != ExactlyOnce {
		return t.readOffsets, nil
	}
	p := t.worker.admin.CommittedOffsets(t.worker.app.cfg.App, t.partitions(), false)
	return await(t, p, func(_ time.Time, offsets map[logclient.TopicPartition]logclient.Position, err error) (phase, error) {
		if err != nil {
			return nil, fmt.Errorf("committed offsets: %w", err)
		}
		var gone []string
		for _, tp := range t.partitions() {
			meta, err := decodeMetadata(offsets[tp])
			if err != nil {
				return nil, err
			}
			if id := meta.transactionalID; id != "" && !t.worker.alive(id) && !slices.Contains(gone, id) {
				gone = append(gone, id)
			}
		}
		return t.fence(gone), nil
	})
}

// fence aborts the open transactions of owners that are gone, one after the
// other.
func (t *task) fence(gone []string) phase {
	return func(time.Time) (phase, error) {
		if len(gone) == 0 {
			return t.readOffsets, nil
		}
		t.worker.log.Info("fencing the former owner of a task", "task", t.id.String(), "transactional_id", gone[0])
		return await(t, t.worker.admin.Fence(gone[0]), func(_ time.Time, _ struct{}, err error) (phase, error) {
			if err != nil {
				return nil, fmt.Errorf("fence %s: %w", gone[0], err)
			}
			return t.fence(gone[1:]), nil
		})
	}
}

// readOffsets reads where the inputs stand.
func (t *task) readOffsets(time.Time) (phase, error) {
	stable := t.worker.app.cfg.Guarantee == ExactlyOnce
	p := t.worker.admin.CommittedOffsets(t.worker.app.cfg.App, t.partitions(), stable)
	return await(t, p, func(now time.Time, offsets map[logclient.TopicPartition]logclient.Position, err error) (phase, error) {
		if errors.Is(err, logclient.ErrUnstable) {
			return t.retry(now, unstableRetry, t.readOffsets)
		}
		if err != nil {
			return nil, fmt.Errorf("committed offsets: %w", err)
		}
		var fresh []*input
		for _, in := range t.inputs {
			pos, ok := offsets[in.tp]
			if !ok {
				fresh = append(fresh, in)
				continue
			}
			meta, err := decodeMetadata(pos)
			if err != nil {
				return nil, err
			}
			t.ctx.StreamTime = max(t.ctx.StreamTime, meta.streamTime)
			in.committed = pos
		}
		t.committedStreamTime = t.ctx.StreamTime
		return t.resetOffsets(fresh, topology.Earliest), nil
	})
}

// resetOffsets finds the start of inputs that have no committed offset: first
// of those that start at the earliest record, then of those at the end.
func (t *task) resetOffsets(fresh []*input, reset topology.Reset) phase {
	return func(time.Time) (phase, error) {
		var tps []logclient.TopicPartition
		for _, in := range fresh {
			if t.sourceOf(in).Reset == reset {
				tps = append(tps, in.tp)
			}
		}
		then := phase(t.openStores)
		kind := logclient.LatestHigh
		if reset == topology.Earliest {
			then, kind = t.resetOffsets(fresh, topology.Latest), logclient.Earliest
		}
		if len(tps) == 0 {
			return then, nil
		}
		p := t.worker.admin.ListOffsets(tps, logclient.OffsetSpec{Kind: kind})
		return await(t, p, func(_ time.Time, offsets map[logclient.TopicPartition]logclient.Position, err error) (phase, error) {
			if err != nil {
				return nil, fmt.Errorf("start offsets: %w", err)
			}
			for _, in := range fresh {
				if slices.Contains(tps, in.tp) {
					in.committed = logclient.Position{TopicPartition: in.tp, Offset: offsets[in.tp].Offset, LeaderEpoch: -1}
				}
			}
			return then, nil
		})
	}
}

func (t *task) sourceOf(in *input) *topology.Source {
	return t.worker.app.plan.inputs[in.tp.Topic].source
}

// openStores opens the task's part of each store.
func (t *task) openStores(now time.Time) (phase, error) {
	for _, in := range t.inputs {
		in.reset(in.committed)
	}
	for len(t.stores) < len(t.sub.Stores) {
		i := len(t.stores)
		spec := t.sub.Stores[i]
		p, err := t.worker.app.cfg.Engine.Open(statestore.ID{App: t.worker.app.cfg.App, Store: spec.Name, Partition: t.id.Partition})
		if errors.Is(err, statestore.ErrInUse) {
			return t.retry(now, busyRetry, t.openStores)
		}
		if err != nil {
			return nil, fmt.Errorf("store %s: %w", spec.Name, err)
		}
		c := t.sub.changelogs[i]
		s := &taskStore{spec: spec, changelog: c, partition: p, tp: logclient.TopicPartition{Topic: c.name, Partition: t.id.Partition}}
		if c.isSource {
			k := slices.IndexFunc(t.inputs, func(in *input) bool { return in.tp == s.tp })
			if k < 0 {
				return nil, fmt.Errorf("store %s: its source topic %s is not among the inputs", spec.Name, c.name)
			}
			s.source = t.inputs[k]
		}
		t.stores = append(t.stores, s)
	}
	return t.findCuts(0), nil
}

// findCuts decides for each store from where its changelog is replayed, then
// replays.
func (t *task) findCuts(i int) phase {
	return func(time.Time) (phase, error) {
		if i == len(t.stores) {
			return t.restore(), nil
		}
		s := t.stores[i]
		tps := []logclient.TopicPartition{s.tp}
		start := t.worker.admin.ListOffsets(tps, logclient.OffsetSpec{Kind: logclient.Earliest})
		return await(t, start, func(_ time.Time, starts map[logclient.TopicPartition]logclient.Position, err error) (phase, error) {
			if err != nil {
				return nil, fmt.Errorf("changelog %s: start offset: %w", s.tp.Topic, err)
			}
			// The high watermark, not the last stable offset: a transaction whose
			// offsets are stable may not have its marker here yet.
			end := t.worker.admin.ListOffsets(tps, logclient.OffsetSpec{Kind: logclient.LatestHigh})
			return await(t, end, func(_ time.Time, ends map[logclient.TopicPartition]logclient.Position, err error) (phase, error) {
				if err != nil {
					return nil, fmt.Errorf("changelog %s: end offset: %w", s.tp.Topic, err)
				}
				return t.checkCut(i, starts[s.tp].Offset, ends[s.tp].Offset)
			})
		})
	}
}

// checkCut tells whether what is on disk can be continued from its cut.
func (t *task) checkCut(i int, start, end int64) (phase, error) {
	s := t.stores[i]
	if s.source != nil {
		end = s.source.committed.Offset
	}
	cut, ok := s.partition.Cut()
	decide := func(why string) (phase, error) {
		if why != "" {
			t.worker.log.Warn("rebuilding a store from its changelog", "task", t.id.String(), "store", s.spec.Name, "why", why)
			if err := s.partition.Reset(); err != nil {
				return nil, fmt.Errorf("store %s: %w", s.spec.Name, err)
			}
			ok = false
		}
		s.next = start
		if ok {
			s.next = cut.Offset
		}
		s.cut = statestore.Cut{TopicID: s.changelog.id, LeaderEpoch: -1, Offset: max(end, s.next)}
		if ok {
			s.cut.LeaderEpoch = cut.LeaderEpoch
		}
		return t.findCuts(i + 1), nil
	}
	if !ok {
		return decide("")
	}
	if why := t.staleCut(s, cut, start, end); why != "" {
		return decide(why)
	}
	if cut.LeaderEpoch < 0 {
		return decide("")
	}
	p := t.worker.admin.EpochEnd(s.tp, cut.LeaderEpoch)
	return await(t, p, func(_ time.Time, at logclient.Position, err error) (phase, error) {
		if err != nil {
			return nil, fmt.Errorf("changelog %s: end of epoch %d: %w", s.tp.Topic, cut.LeaderEpoch, err)
		}
		if at.LeaderEpoch == cut.LeaderEpoch && at.Offset >= 0 && at.Offset < cut.Offset {
			return decide(fmt.Sprintf("the changelog was truncated to offset %d, the store had reached %d", at.Offset, cut.Offset))
		}
		return decide("")
	})
}

// staleCut says why a store on disk cannot be continued, or "".
func (t *task) staleCut(s *taskStore, cut statestore.Cut, start, end int64) string {
	switch {
	case cut.TopicID != s.changelog.id:
		return "its changelog is another topic now: of another cluster, or deleted and made anew"
	case cut.Offset < start:
		return fmt.Sprintf("the changelog begins at offset %d, the store had reached %d", start, cut.Offset)
	case s.source != nil && cut.Offset > end:
		return fmt.Sprintf("the store had read its topic up to offset %d, only %d is committed", cut.Offset, end)
	case s.source == nil && cut.Offset > end:
		return fmt.Sprintf("the changelog ends at offset %d, the store had reached %d", end, cut.Offset)
	case cut.Offset < end && s.changelog.deleteRetentionMs >= 0 && cut.TimestampMs > 0:
		age := t.worker.now.UnixMilli() - cut.TimestampMs
		if age > s.changelog.deleteRetentionMs {
			return fmt.Sprintf("the store is %s old, deletions may be gone from the changelog", time.Duration(age)*time.Millisecond)
		}
	}
	return ""
}

// restore replays the changelogs of all stores that are behind.
func (t *task) restore() phase {
	var reader logclient.Reader
	started := false
	return func(now time.Time) (phase, error) {
		if !started {
			started = true
			var positions []logclient.Position
			for _, s := range t.stores {
				if s.next < s.cut.Offset {
					positions = append(positions, logclient.Position{TopicPartition: s.tp, Offset: s.next, LeaderEpoch: -1})
				}
			}
			if len(positions) == 0 {
				return t.build, nil
			}
			var err error
			reader, err = t.worker.app.cfg.Log.NewReader(logclient.ReaderConfig{
				Positions: positions, ReadUncommitted: t.worker.app.cfg.Guarantee != ExactlyOnce,
			})
			if err != nil {
				return nil, fmt.Errorf("changelog reader: %w", err)
			}
			t.worker.restores[t] = reader
		}
		moved, done, err := t.replay(reader.Poll(now))
		if err != nil {
			return nil, err
		}
		if done {
			t.worker.closeRestore(t)
			return t.build, nil
		}
		t.retryAt = now
		if !moved {
			t.retryAt = now.Add(restorePoll)
		}
		return nil, errWaiting
	}
}

// replay puts what a poll of the changelogs brought into the stores.
func (t *task) replay(p logclient.Poll) (moved, done bool, err error) {
	for _, e := range p.Events {
		if e.Err != nil {
			return false, false, fmt.Errorf("changelog: %w", e.Err)
		}
	}
	for _, b := range p.Batches {
		i := slices.IndexFunc(t.stores, func(s *taskStore) bool { return s.tp == b.TopicPartition })
		if i < 0 {
			continue
		}
		moved = true
		if err := t.replayBatch(t.stores[i], b); err != nil {
			return false, false, fmt.Errorf("store %s: %w", t.stores[i].spec.Name, err)
		}
	}
	for _, s := range t.stores {
		if s.next < s.cut.Offset {
			return moved, false, nil
		}
	}
	return moved, true, nil
}

func (t *task) replayBatch(s *taskStore, b logclient.Batch) error {
	if s.next >= s.cut.Offset {
		return nil
	}
	var changes []statestore.Change
	add := func(r *recordbatch.Record) {
		if r.Offset < s.next || r.Offset >= s.cut.Offset || r.Key == nil {
			return
		}
		if s.spec.Valid != nil && r.Value != nil && !s.spec.Valid(r.Key, r.Value) {
			return // was a record error when it was read as a source
		}
		changes = append(changes, statestore.Change{Key: r.Key, Value: r.Value, Timestamp: r.Timestamp})
	}
	if b.Raw != nil {
		var reader recordbatch.Reader
		if err := reader.Reset(b.Raw); err != nil {
			return err
		}
		for {
			var r recordbatch.Record
			ok, err := reader.Next(&r)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			add(&r)
		}
	} else {
		for i := range b.Records {
			add(&b.Records[i])
		}
	}
	s.next = min(b.Next, s.cut.Offset)
	s.cut.LeaderEpoch = b.LeaderEpoch
	t.restored += int64(len(changes))
	return s.partition.Restore(changes, statestore.Cut{TopicID: s.changelog.id, LeaderEpoch: b.LeaderEpoch, Offset: s.next})
}

// build makes the operators of the task and lets its inputs flow.
func (t *task) build(time.Time) (phase, error) {
	t.out = newTaskOutput(t.worker.outputs, t.sub.sinks)
	t.ctx.Out = t.out
	built, err := t.sub.NewTask(&t.ctx, func(spec *topology.Store) (*statestore.Partition, error) {
		i := slices.IndexFunc(t.stores, func(s *taskStore) bool { return s.spec == spec })
		return t.stores[i].partition, nil
	})
	if err != nil {
		return nil, err
	}
	t.built = built
	for i, s := range t.stores {
		s.store = built.Stores[i]
		if s.source == nil {
			s.log = t.worker.outputs.partition(s.tp)
		}
	}
	for _, in := range t.inputs {
		in.process = built.Sources[in.topic.Name]
		t.worker.member.Seek(in.committed)
	}
	t.worker.taskStarted(t)
	return nil, nil
}
