package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/internal/checker"
)

// consumer reads all partitions of topics, and begins anew now and then.
type consumer struct {
	worker
	topics      []string
	uncommitted bool
}

func (c *consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.openAt(from(c.topics...)); err != nil {
			c.r.find(Stalled, "a client: %v", err)
			return
		}
		c.once(ctx)
		if c.rng.IntN(500) == 0 {
			c.drop()
		}
	}
	c.drop()
}

func (c *consumer) openAt(at map[string]map[int32]kgo.Offset, more ...kgo.Opt) error {
	if c.client != nil {
		return nil
	}
	level := kgo.ReadCommitted()
	if c.uncommitted {
		level = kgo.ReadUncommitted()
		more = append(more, kgo.KeepControlRecords())
	}
	err := c.open(append(more, kgo.ConsumePartitions(at), kgo.FetchIsolationLevel(level), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(200*time.Millisecond))...)
	if err == nil {
		c.r.mark(c.process, checker.Assign)
	}
	return err
}

func (c *consumer) once(ctx context.Context) {
	fetches := c.client.PollFetches(ctx)
	if fetches.Empty() {
		return
	}
	op := c.r.begin(c.process, checker.Poll)
	op.Uncommitted = c.uncommitted
	c.r.polled(op, fetches)
	c.r.end(op, checker.OK, nil)
}

// polled adds the records of a poll to an operation, and notes errors that say
// that the log is not what it was; false: some record is none of ours.
func (r *recorder) polled(op *checker.Op, fetches kgo.Fetches) bool {
	fetches.EachError(func(topic string, partition int32, err error) {
		r.pollError(key(topic, partition), op.Uncommitted, err)
	})
	readable := true
	fetches.EachRecord(func(record *kgo.Record) {
		if record.Attrs.IsControl() {
			return
		}
		k := key(record.Topic, record.Partition)
		value, _, _, ok := payload(record.Value)
		if !ok {
			readable = false
			r.find(Damaged, "%s:%d is none of the records that were sent: %q", k, record.Offset, record.Value)
			return
		}
		op.Value = append(op.Value, checker.Micro{Poll: true, Key: k, Offset: record.Offset, Value: value})
	})
	return readable
}

func (r *recorder) pollError(k string, uncommitted bool, err error) {
	var lost *kgo.ErrDataLoss
	var answer *kerr.Error
	var cut *kgo.ErrFirstReadEOF
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrClientClosed):
	case errors.As(err, &lost) && !uncommitted:
		// The client knows the leader epoch of what it was given, but not that of
		// the aborted records and markers that it left out after it, which may be a
		// later one: it asks for the end of the former epoch, and takes it for a loss
		// that this is before its position.
	case errors.As(err, &lost), errors.Is(err, kerr.OffsetOutOfRange):
		r.find(LogWentBack, "a reader of %s: %v", k, err)
	case errors.As(err, &answer) && answer.Retriable, kgo.IsRetryableBrokerErr(err), errors.As(err, &cut):
	default:
		r.find(Damaged, "a reader of %s: %v", k, err)
	}
}
