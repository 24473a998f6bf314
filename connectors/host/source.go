package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
)

// SourceConfig describes a source connector.
type SourceConfig struct {
	Config
	// Topic is written to.
	Topic string
	// Partitions is how many partitions Topic and the dead-letter topic get if
	// they do not exist. Default 1.
	Partitions int32
}

// Source runs a source connector.
type Source struct {
	config SourceConfig
	status tracker
}

// NewSource checks the configuration; the plugin checks its settings when it
// is opened.
func NewSource(c SourceConfig) (*Source, error) {
	var err error
	if c.Config, err = c.Config.withDefaults(); err != nil {
		return nil, err
	}
	if c.Topic == "" {
		return nil, fmt.Errorf("host: connector %q: Topic is empty", c.Name)
	}
	orDefault(&c.Partitions, 1)
	return &Source{config: c}, nil
}

// Status tells how the source is doing. It is safe for concurrent use.
func (s *Source) Status() Status { return s.status.snapshot() }

// Run runs the source until ctx ends or a finite source has no more, and then
// returns nil; or until it fails for good, with an *Error. It is called once.
func (s *Source) Run(ctx context.Context) error {
	return supervise(ctx, &s.config.Config, &s.status, s.session)
}

// sourceSession is one life of the plugin. It belongs to one goroutine.
type sourceSession struct {
	source  *Source
	config  *SourceConfig
	claim   *claim
	process *process
	inbox   *inbox
	courier *courier

	out, letters *outbox
	position     []byte    // after what is collected
	collected    int64     // bytes of the open transaction, as the credit counts
	faulty       int64     // inputs of the open transaction that became no record
	pending      bool      // something is to be committed
	lastCommit   time.Time // of the last transaction
	progress     bool
	done         bool // the source has no more, or is to stop
}

func (s *Source) session(ctx context.Context) (progress bool, err error) {
	c := &s.config
	if err := c.ensureTopic(ctx, c.Topic, c.Partitions, nil); err != nil {
		return false, err
	}
	cl, err := claimConnector(ctx, &c.Config)
	if err != nil {
		return false, err
	}
	defer cl.release()
	r := &sourceSession{source: s, config: c, claim: cl, inbox: newInbox(&c.Config), courier: newCourier(), position: cl.state.Position}
	if err := r.openOutboxes(ctx); err != nil {
		return false, err
	}
	if r.process, err = startProcess(ctx, &c.Config); err != nil {
		return false, err
	}
	defer r.process.kill()
	s.status.update(func(st *Status) { st.PID, st.Position = r.process.runner.pid, cl.state.Position })
	err = r.run(ctx)
	return r.progress, err
}

func (r *sourceSession) openOutboxes(ctx context.Context) error {
	n, err := r.config.partitions(ctx, r.config.Topic)
	if err != nil {
		return err
	}
	if n == 0 {
		return r.config.fail("start", fmt.Errorf("topic %q does not exist", r.config.Topic))
	}
	r.out = newOutbox(r.claim.writer, r.config.Topic, n)
	r.letters, err = openLetters(ctx, &r.config.Config, r.claim)
	return err
}

// openLetters makes the outbox of the dead-letter topic; nil if there is none.
func openLetters(ctx context.Context, c *Config, cl *claim) (*outbox, error) {
	if c.OnError != OnErrorDeadLetter {
		return nil, nil
	}
	if err := c.ensureTopic(ctx, c.DeadLetterTopic, 1, nil); err != nil {
		return nil, err
	}
	n, err := c.partitions(ctx, c.DeadLetterTopic)
	if err != nil {
		return nil, err
	}
	return newOutbox(cl.writer, c.DeadLetterTopic, max(n, 1)), nil
}

func (r *sourceSession) run(ctx context.Context) error {
	// The stream outlives ctx: an orderly end needs it.
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, err := r.process.RunSource(streamCtx)
	if err != nil {
		return r.process.explain(&r.config.Config, "open", err)
	}
	open := &proto.OpenSource{
		Connector: r.config.Name, ConfigJson: r.config.Settings,
		HasPosition: r.position != nil, Position: r.position, Epoch: r.claim.epoch,
		CreditBytes: r.config.Limits.InFlightBytes, MaxBatchBytes: r.config.Limits.BatchBytes,
	}
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	helpers.Go(func() { r.inbox.fill(streamCtx, stream.Recv) })
	helpers.Go(func() { r.courier.run(streamCtx, open, stream.Send) })
	return r.loop(ctx)
}

// loop takes events and commits, until the stream ends. A plugin that always
// has an event ready puts off neither a commit nor the end.
func (r *sourceSession) loop(ctx context.Context) error {
	w := newWatch(r.config.Limits)
	defer w.timer.Stop()
	quit := ctx.Done() // nil once the plugin was told to stop; nil as well for a ctx without end
	for {
		due, stopTimer := r.commitDue()
		ended, err := false, error(nil)
		select {
		case <-r.inbox.ready:
			ended, err = r.handleNext(ctx, &w)
		case <-due:
			err = r.commit(ctx)
			w.again()
		case <-quit:
			r.done = true
		case <-w.timer.C:
			err = w.late(&r.config.Config, r.process)
		}
		stopTimer()
		if ended || err != nil {
			return err
		}
		if r.done && w.stage != "stop" {
			r.courier.stopPlugin()
			quit = nil
			w.stopping()
		}
	}
}

// handleNext takes one event of the inbox.
func (r *sourceSession) handleNext(ctx context.Context, w *watch) (ended bool, err error) {
	e, ok := r.inbox.pop()
	if !ok {
		return false, nil
	}
	w.heard("read")
	ended, err = r.handle(ctx, e, w.stage)
	w.again() // handle may have committed
	return ended, err
}

// commitDue returns a channel that fires when the open transaction is to be
// committed.
func (r *sourceSession) commitDue() (due <-chan time.Time, stop func() bool) {
	if !r.pending {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(time.Until(r.lastCommit.Add(r.config.Limits.CommitInterval)))
	return timer.C, timer.Stop
}

// handle takes one event. ended is set after the stream's orderly end.
func (r *sourceSession) handle(ctx context.Context, e event[*proto.SourceEvent], stage string) (ended bool, err error) {
	switch {
	case errors.Is(e.err, io.EOF) && stage == "stop":
		return true, r.commit(ctx)
	case errors.Is(e.err, io.EOF):
		return true, r.process.explain(&r.config.Config, stage, errors.New("the plugin ended the stream without a reason"))
	case e.err != nil:
		if broken, ok := errors.AsType[*Error](e.err); ok { // of the inbox
			return true, r.process.lastWords(broken)
		}
		return true, r.process.explain(&r.config.Config, stage, e.err)
	}
	switch m := e.message.Event.(type) {
	case *proto.SourceEvent_Opened:
		r.source.status.update(func(s *Status) { s.State = Running })
	case *proto.SourceEvent_Batch:
		return false, r.take(ctx, m.Batch)
	case *proto.SourceEvent_Done:
		r.done = true
	case *proto.SourceEvent_Error:
		// What was sent before the error is good.
		return true, errors.Join(r.commit(ctx), r.process.lastWords(r.config.reported(stage, m.Error)))
	}
	return false, nil
}

// take checks a batch and collects it.
func (r *sourceSession) take(ctx context.Context, b *proto.SourceBatch) error {
	r.collected += batchSize(b)
	if b.Position == nil {
		return r.config.refuse("read", "mend the connector", errors.New("the plugin sent a batch without a position"))
	}
	if err := r.addRecords(b.Records); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	for _, e := range b.Errors {
		if err := r.addLetter(now, e); err != nil {
			return err
		}
	}
	r.position, r.pending = b.Position, true
	if r.collected >= r.config.Limits.InFlightBytes/2 {
		return r.commit(ctx)
	}
	return nil
}

func (r *sourceSession) addRecords(records []byte) error {
	for len(records) > 0 {
		batch, rest, err := recordbatch.Split(records)
		if err == nil {
			err = checkPlain(batch)
		}
		if err == nil {
			err = eachRaw(batch, r.addRecord)
		}
		if errors.Is(err, recordbatch.ErrCorrupt) {
			return r.config.refuse("read", "mend the connector", fmt.Errorf("the plugin sent records that are none: %w", err))
		}
		if err != nil {
			return r.config.logError("write", err)
		}
		records = rest
	}
	return nil
}

// checkPlain refuses batches that no source has a reason to send. Compressed
// ones would escape the credit: a few bytes could stand for any number.
func checkPlain(b recordbatch.Batch) error {
	if err := b.Validate(); err != nil {
		return err
	}
	if b.Codec() != recordbatch.CodecNone {
		return fmt.Errorf("%w: the batch is compressed, which the plugin protocol does not allow", recordbatch.ErrCorrupt)
	}
	if b.IsControl() || b.IsTransactional() {
		return fmt.Errorf("%w: the batch claims to be part of a transaction, which only the host makes", recordbatch.ErrCorrupt)
	}
	return nil
}

// addRecord collects a record. Its headers go into the log as they are, so
// they are read first: nobody could read them there.
func (r *sourceSession) addRecord(rec *recordbatch.Record) error {
	if _, err := rec.Headers.Decode(); err != nil {
		return fmt.Errorf("headers: %w", err)
	}
	return r.out.add(rec.Timestamp, rec.Key, rec.Value, rec.Headers)
}

func (r *sourceSession) addLetter(now int64, e *proto.ErrorRecord) error {
	r.faulty++
	switch r.config.OnError {
	case OnErrorFail:
		return r.config.refuse("read", "correct the input, or set on_error to dead_letter or skip", fmt.Errorf("%s: %s", e.Origin, e.Reason))
	case OnErrorSkip:
		r.config.Logger.Warn("input skipped", "origin", e.Origin, "reason", e.Reason)
		return nil
	}
	headers, err := letterHeaders(nil,
		HeaderErrorMessage, e.Reason, HeaderErrorStage, "source", HeaderErrorConnector, r.config.Name, HeaderErrorOrigin, e.Origin)
	if err != nil {
		return err
	}
	if err := r.letters.add(now, e.Key, e.Value, headers); err != nil {
		return r.config.logError("write", err)
	}
	return nil
}

// commit makes what is collected durable together with the position, and tells
// the plugin. It is not cut short when ctx ends.
func (r *sourceSession) commit(ctx context.Context) error {
	if !r.pending {
		return nil
	}
	if err := r.out.flush(); err != nil {
		return r.config.logError("write", err)
	}
	if r.letters != nil {
		if err := r.letters.flush(); err != nil {
			return r.config.logError("write", err)
		}
	}
	r.claim.state.Position = r.position
	if err := r.claim.putState(); err != nil {
		return err
	}
	if err := r.claim.commit(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	records := r.out.committed()
	if r.letters != nil {
		r.letters.committed()
	}
	r.source.status.update(func(s *Status) { s.Records += records; s.DeadLetters += r.faulty; s.Position = r.position })
	r.inbox.grant(r.collected)
	r.courier.paid(r.collected, r.position)
	r.collected, r.faulty, r.pending, r.progress, r.lastCommit = 0, 0, false, true, time.Now()
	return nil
}
