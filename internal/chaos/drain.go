package chaos

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/internal/checker"
)

// settleTimeout is how long a healed server may take until all that was written
// can be read.
const settleTimeout = 15 * time.Second

// settle ends what producers have left open: it takes over their ids.
func settle(ctx context.Context, r *recorder, w *worker, ids []string) {
	for _, id := range ids {
		client, err := kgo.NewClient(w.options(kgo.TransactionalID(id))...)
		if err == nil {
			_, _, err = client.ProducerID(ctx)
			client.Close()
		}
		if err != nil {
			r.find(Stalled, "the transactional id %s could not be taken over at the end: %v", id, err)
		}
	}
}

// ends waits until nothing holds back who reads committed records, and returns
// where the partitions end.
func ends(ctx context.Context, r *recorder, admin *kadm.Client, topics []string) map[string]int64 {
	ctx, cancel := context.WithTimeout(ctx, r.patience(settleTimeout))
	defer cancel()
	for {
		at := map[string]int64{}
		var behind []string
		high, err1 := admin.ListEndOffsets(ctx, topics...)
		stable, err2 := admin.ListCommittedOffsets(ctx, topics...)
		err := errors.Join(err1, err2, high.Error(), stable.Error())
		if err == nil {
			high.Each(func(o kadm.ListedOffset) {
				at[key(o.Topic, o.Partition)] = o.Offset
				if s, _ := stable.Lookup(o.Topic, o.Partition); s.Offset < o.Offset {
					behind = append(behind, fmt.Sprintf("%s can be read up to %d and ends at %d", key(o.Topic, o.Partition), s.Offset, o.Offset))
				}
			})
		}
		if err == nil && len(behind) == 0 {
			return at
		}
		if !tick(ctx, 50*time.Millisecond) {
			r.find(Stalled, "at the end, with no transaction open: %s %v", strings.Join(behind, ", "), err)
			return at
		}
	}
}

// tick waits; false: the context has ended.
func tick(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// drained is a record that was read at the end.
type drained struct {
	offset       int64
	source       string
	sourceOffset int64
}

// drain reads topics from their begin to their ends, as a process of its own.
func drain(ctx context.Context, w worker, ends map[string]int64, uncommitted bool, topics ...string) map[string][]drained {
	ctx, cancel := context.WithTimeout(ctx, w.r.patience(settleTimeout))
	defer cancel()
	c := &consumer{worker: w, topics: topics, uncommitted: uncommitted}
	c.process = w.r.newProcess()
	if err := c.openAt(from(topics...), kgo.KeepControlRecords()); err != nil {
		w.r.find(Stalled, "a client: %v", err)
		return nil
	}
	defer c.drop()
	all := map[string][]drained{}
	at := map[string]int64{}
	missing := func() (keys []string) {
		for _, k := range keysOf(topics...) {
			if at[k] < ends[k] {
				keys = append(keys, fmt.Sprintf("%s at %d of %d", k, at[k], ends[k]))
			}
		}
		return keys
	}
	for ctx.Err() == nil && len(missing()) > 0 {
		fetches := c.client.PollFetches(ctx)
		op := w.r.begin(c.process, checker.Poll)
		op.Uncommitted = uncommitted
		w.r.polled(op, fetches)
		w.r.end(op, checker.OK, nil)
		fetches.EachRecord(func(record *kgo.Record) {
			k := key(record.Topic, record.Partition)
			at[k] = record.Offset + 1
			if _, source, sourceOffset, ok := payload(record.Value); ok && !record.Attrs.IsControl() {
				all[k] = append(all[k], drained{record.Offset, source, sourceOffset})
			}
		})
	}
	if left := missing(); len(left) > 0 {
		w.r.find(Stalled, "a reader did not come to the end: %s", strings.Join(left, ", "))
	}
	return all
}

// drainKcat reads topics with kcat, a client that shares no code with the others;
// each topic is a process of its own.
func drainKcat(ctx context.Context, r *recorder, address string, topics ...string) {
	for _, topic := range topics {
		ctx, cancel := context.WithTimeout(ctx, 2*settleTimeout)
		out, err := exec.CommandContext(ctx, "kcat", "-C", "-q", "-e", "-b", address, "-t", topic, "-o", "beginning",
			"-X", "isolation.level=read_committed", "-X", "check.crcs=true", "-f", "%p %o %s\n").Output()
		cancel()
		if err != nil {
			r.find(Damaged, "kcat could not read %s: %v", topic, err)
			continue
		}
		process := r.newProcess()
		r.mark(process, checker.Assign)
		op := r.begin(process, checker.Poll)
		for line := range strings.Lines(string(out)) {
			words := strings.SplitN(strings.TrimSpace(line), " ", 3)
			partition, err1 := strconv.ParseInt(words[0], 10, 32)
			offset, err2 := strconv.ParseInt(words[min(1, len(words)-1)], 10, 64)
			value, _, _, ok := payload([]byte(words[len(words)-1]))
			if err1 != nil || err2 != nil || !ok || len(words) != 3 {
				r.find(Damaged, "kcat read %q in %s", line, topic)
				continue
			}
			op.Value = append(op.Value, checker.Micro{Poll: true, Key: key(topic, int32(partition)), Offset: offset, Value: value})
		}
		r.end(op, checker.OK, nil)
	}
}
