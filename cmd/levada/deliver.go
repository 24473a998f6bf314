package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// errStalled: the broker can be reached and acknowledges nothing.
var errStalled = errors.New("no record was acknowledged in the time of --timeout")

// errInterrupted: a signal ended a command before its work was done.
var errInterrupted = errors.New("interrupted")

// delivery counts what becomes of the records of topic produce, and gives up once
// none has been acknowledged for a while. The client's own limit counts from the
// timestamp of a record, which may be years ago.
type delivery struct {
	limit  time.Duration
	giveUp *time.Timer

	mu          sync.Mutex
	open, acked int64 // records
	failed      error // the first fault
}

func (d *delivery) sent() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open++; d.open == 1 {
		d.giveUp.Reset(d.limit)
	}
}

func (d *delivery) done(line int64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open--
	switch {
	case err != nil && d.failed == nil:
		d.failed = fmt.Errorf("line %d: %w", line, err)
	case err == nil:
		d.acked++
		d.giveUp.Reset(d.limit)
	}
	if d.open == 0 {
		d.giveUp.Stop()
	}
}

func (d *delivery) hasFailed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed != nil
}

// produceLines writes lines until the input ends and returns how many the broker
// acknowledged. A signal ends the input: what was read is still delivered.
func produceLines(ctx context.Context, client *kgo.Client, in io.Reader, record func([]byte) (*kgo.Record, error), limit time.Duration) (int64, error) {
	sending, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	d := &delivery{limit: limit, giveUp: time.AfterFunc(limit, func() { cancel(errStalled) })}
	d.giveUp.Stop() // until there is something to wait for
	scanner := bufio.NewScanner(interruptible(ctx, in))
	scanner.Buffer(make([]byte, 0, 64<<10), maxLineBytes)
	var line int64
	var bad error
	for !d.hasFailed() && sending.Err() == nil && scanner.Scan() {
		line++
		r, err := record(scanner.Bytes())
		if err != nil {
			bad = fmt.Errorf("line %d: %w", line, err)
			break
		}
		at := line
		d.sent()
		client.Produce(sending, r, func(r *kgo.Record, err error) { d.done(at, faultOf(r, err)) })
	}
	if err := scanner.Err(); err != nil {
		bad = errors.Join(bad, fmt.Errorf("line %d: %w", line+1, err))
	}
	err := client.Flush(sending)
	d.mu.Lock()
	defer d.mu.Unlock()
	if sending.Err() != nil { // what the records say of it is only that they were given up
		return d.acked, errors.Join(bad, context.Cause(sending))
	}
	return d.acked, errors.Join(bad, d.failed, err)
}

// faultOf says what is wrong with a record that was not written.
func faultOf(r *kgo.Record, err error) error {
	if err != nil && strings.HasPrefix(err.Error(), "invalid record partitioning choice") { // the client has no error of its own for it
		return inputError(fmt.Errorf("topic %q has no partition %d (see: %s topic describe %s)", r.Topic, r.Partition, program, r.Topic))
	}
	return onTopic(r.Topic, "write").explained(err, "")
}

// interruptible reads until the input ends or the context does: a read of a terminal
// or a pipe would go on for as long as nobody writes.
func interruptible(ctx context.Context, in io.Reader) io.Reader {
	out, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, in)
		w.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { w.CloseWithError(errInterrupted) })
	return out
}
