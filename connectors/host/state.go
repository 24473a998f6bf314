package host

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// firstWindow is how many records at the end of the positions topic are looked
// at first. A connector that was active is found there; else the window grows.
const firstWindow = 1000

// readState reads what the positions topic holds of the connector, from the
// end backwards in growing windows until the state is found. A claim with a
// larger epoch than the state's can only lie after it.
func (c *Config) readState(ctx context.Context) (ownedState, error) {
	tp := c.positionsPartition()
	start, err := c.offset(ctx, tp, logclient.Earliest)
	if err != nil {
		return ownedState{}, err
	}
	end, err := c.offset(ctx, tp, logclient.LatestStable)
	if err != nil {
		return ownedState{}, err
	}
	for window := int64(firstWindow); ; window *= 8 {
		from := max(start, end-window)
		s := ownedState{}
		if err := c.scan(ctx, tp, from, end, s.take(c.Name)); err != nil {
			return s, err
		}
		if from == start || s.newest != nil {
			return s, nil
		}
	}
}

// take returns a function that notes the records of a connector.
func (s *ownedState) take(name string) func(*recordbatch.Record) error {
	return func(r *recordbatch.Record) error {
		var err error
		version := stateVersion
		switch string(r.Key) {
		case epochKey(name):
			var e epochRecord
			err = json.Unmarshal(r.Value, &e)
			s.claims, version = append(s.claims, e), e.Version
		case stateKey(name):
			s.newest = &stateRecord{}
			err = json.Unmarshal(r.Value, s.newest)
			version = s.newest.Version
		}
		if err != nil {
			return fmt.Errorf("record %q at offset %d: %w", r.Key, r.Offset, err)
		}
		if version != stateVersion {
			return fmt.Errorf("record %q at offset %d has version %d, this host reads %d", r.Key, r.Offset, version, stateVersion)
		}
		return nil
	}
}

func (c *Config) offset(ctx context.Context, tp logclient.TopicPartition, kind logclient.OffsetKind) (int64, error) {
	m, err := c.offsets(ctx, []logclient.TopicPartition{tp}, kind)
	return m[tp].Offset, err
}

func (c *Config) offsets(ctx context.Context, tps []logclient.TopicPartition, kind logclient.OffsetKind) (map[logclient.TopicPartition]logclient.Position, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Limits.Log, errLogSlow)
	defer cancel()
	m, err := c.Log.Admin().ListOffsets(tps, logclient.OffsetSpec{Kind: kind}).Wait(ctx)
	if err != nil {
		return nil, c.logError("list offsets", err)
	}
	return m, nil
}

// scan reads the committed records of a partition from one offset up to
// another.
func (c *Config) scan(ctx context.Context, tp logclient.TopicPartition, from, end int64, each func(*recordbatch.Record) error) error {
	if from >= end {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Limits.Log, errLogSlow)
	defer cancel()
	reader, err := c.Log.NewReader(logclient.ReaderConfig{Positions: []logclient.Position{{TopicPartition: tp, Offset: from, LeaderEpoch: -1}}})
	if err != nil {
		return c.logError("read positions", err)
	}
	defer reader.Close()
	for next := from; next < end; {
		poll := reader.Poll(time.Now())
		if err := pollError(poll); err != nil {
			return c.logError("read positions", err)
		}
		for i := range poll.Batches {
			b := &poll.Batches[i]
			if err := eachRecord(b, each); err != nil {
				return c.refuse("read positions", "the topic "+tp.Topic+" must be written by hosts only", err)
			}
			next = b.Next
		}
		if next < end && len(poll.Batches) == 0 {
			if err := awaitFetcher(ctx, reader, poll); err != nil {
				return c.logError("read positions", err)
			}
		}
	}
	return nil
}

// pollError is the failure that a poll reports, if any.
func pollError(poll logclient.Poll) error {
	for _, e := range poll.Events {
		switch e.Kind {
		case logclient.OffsetGone:
			return fmt.Errorf("%v: %w: %w", e.Partitions, logclient.ErrOffsetGone, e.Err)
		case logclient.Fatal:
			return e.Err
		}
	}
	return nil
}

// awaitFetcher waits until another Poll may bring something.
func awaitFetcher(ctx context.Context, f logclient.Fetcher, poll logclient.Poll) error {
	var due <-chan time.Time
	if !poll.NextDue.IsZero() {
		timer := time.NewTimer(time.Until(poll.NextDue))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-f.Wake():
	case <-due:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// eachRecord walks the records of a fetched batch.
func eachRecord(b *logclient.Batch, each func(*recordbatch.Record) error) error {
	for i := range b.Records {
		if err := each(&b.Records[i]); err != nil {
			return err
		}
	}
	if b.Raw == nil {
		return nil
	}
	return eachRaw(b.Raw, each)
}

func eachRaw(b recordbatch.Batch, each func(*recordbatch.Record) error) error {
	var r recordbatch.Reader
	var rec recordbatch.Record
	if err := r.Reset(b); err != nil {
		return err
	}
	for {
		ok, err := r.Next(&rec)
		if !ok || err != nil {
			return err
		}
		if err := each(&rec); err != nil {
			return err
		}
	}
}

// ensureTopic creates a topic that does not exist.
func (c *Config) ensureTopic(ctx context.Context, name string, partitions int32, configs map[string]string) error {
	n, err := c.partitions(ctx, name)
	if err != nil || n > 0 {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Limits.Log, errLogSlow)
	defer cancel()
	spec := logclient.TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: -1, Configs: configs}
	if _, err := c.Log.Admin().CreateTopics([]logclient.TopicSpec{spec}).Wait(ctx); err != nil {
		return c.logError("create topic "+name, err)
	}
	return nil
}

// partitions tells how many partitions a topic has; 0 if there is no topic.
func (c *Config) partitions(ctx context.Context, name string) (int32, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Limits.Log, errLogSlow)
	defer cancel()
	m, err := c.Log.Admin().DescribeTopics([]string{name}, false).Wait(ctx)
	if err != nil {
		return 0, c.logError("describe topic "+name, err)
	}
	return m[name].Partitions, nil
}
