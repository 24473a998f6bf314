package host

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	source   *Source
	config   *SourceConfig
	claim    *claim
	process  *process
	outgoing chan *proto.SourceCommand

	out, letters *outbox
	position     []byte    // after what is collected
	collected    int64     // bytes of the open transaction, as the credit counts
	pending      bool      // something is to be committed
	lastCommit   time.Time // of the last transaction
	progress     bool
	done         bool // the source has no more
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
	r := &sourceSession{source: s, config: c, claim: cl, position: cl.state.Position}
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
	r.outgoing = make(chan *proto.SourceCommand, maxUnread)
	defer deliver(streamCtx, stream.Send, r.outgoing)()
	defer cancel()
	r.send(&proto.SourceCommand{Command: &proto.SourceCommand_Open{Open: &proto.OpenSource{
		Connector: r.config.Name, ConfigJson: r.config.Settings,
		HasPosition: r.position != nil, Position: r.position, Epoch: r.claim.epoch,
		CreditBytes: r.config.Limits.InFlightBytes, MaxBatchBytes: r.config.Limits.BatchBytes,
	}}})
	return r.loop(ctx, receive(streamCtx, stream.Recv))
}

// maxUnread is how many commands a plugin may leave unread; there are two for
// a commit.
const maxUnread = 64

// send queues a command. A plugin that does not read what it is told is ended:
// its stream then says so.
func (r *sourceSession) send(c *proto.SourceCommand) {
	select {
	case r.outgoing <- c:
	default:
		r.config.Logger.Warn("the plugin does not read what it is told, and is killed")
		r.process.kill()
	}
}

// loop takes events and commits until the stream ends.
func (r *sourceSession) loop(ctx context.Context, events <-chan event[*proto.SourceEvent]) error {
	w := newWatch(r.config.Limits, "read", ctx.Done())
	defer w.timer.Stop()
	for {
		// These two do not wait behind what a busy plugin sends.
		select {
		case <-w.quit:
			r.stop(w)
		case <-w.timer.C:
			return w.late(&r.config.Config, r.process)
		default:
		}
		// What is ready is taken before a commit is begun.
		var e event[*proto.SourceEvent]
		select {
		case e = <-events:
		default:
			due, stopTimer := r.commitDue()
			select {
			case e = <-events:
				stopTimer()
			case <-due:
				if err := r.commit(ctx); err != nil {
					return err
				}
				w.patient()
				continue
			case <-w.quit:
				stopTimer()
				r.stop(w)
				continue
			case <-w.timer.C:
				stopTimer()
				return w.late(&r.config.Config, r.process)
			}
		}
		w.heard()
		if ended, err := r.handle(ctx, e, w.stage); ended || err != nil {
			return err
		}
		if r.done && !w.stopping() {
			r.stop(w)
		}
	}
}

// stop tells the plugin to end.
func (r *sourceSession) stop(w *watch) {
	r.send(&proto.SourceCommand{Command: &proto.SourceCommand_Stop{Stop: &proto.Stop{}}})
	w.stop()
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
		e := r.config.reported(stage, m.Error)
		e.Output = r.process.output.tail()
		// What was sent before the error is good.
		return true, errors.Join(r.commit(ctx), e)
	}
	return false, nil
}

// take checks a batch and collects it. At half of the credit it commits, and
// takes nothing meanwhile: whoever sends without credit waits in the windows of
// HTTP/2.
func (r *sourceSession) take(ctx context.Context, b *proto.SourceBatch) error {
	size := batchSize(b)
	if size > r.config.Limits.BatchBytes+maxBatchSlack {
		return r.config.refuse("read", "mend the connector: it must respect the size it is opened with", fmt.Errorf("the plugin sent a batch of %d bytes, at most %d are allowed", size, r.config.Limits.BatchBytes))
	}
	r.collected += size
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

// maxBatchSlack forgives what a batch's own header takes.
const maxBatchSlack = 1 << 10

// batchSize is what a batch takes of the credit; docs/format/plugin-protocol.md.
func batchSize(b *proto.SourceBatch) int64 {
	n := int64(len(b.Records))
	for _, e := range b.Errors {
		n += int64(len(e.Key)+len(e.Value)+len(e.Reason)+len(e.Origin)) + 64
	}
	return n
}

func (r *sourceSession) addRecords(records []byte) error {
	for len(records) > 0 {
		batch, rest, err := recordbatch.Split(records)
		if err == nil {
			err = batch.Validate()
		}
		if err == nil && (batch.Codec() != 0 || batch.IsControl() || batch.IsTransactional()) {
			// Compressed records would cost less credit than memory.
			err = fmt.Errorf("%w: compressed, transactional or control batches are not taken", recordbatch.ErrCorrupt)
		}
		if err == nil {
			err = eachRaw(batch, func(rec *recordbatch.Record) error {
				return r.out.add(rec.Timestamp, rec.Key, rec.Value, rec.Headers)
			})
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

func (r *sourceSession) addLetter(now int64, e *proto.ErrorRecord) error {
	r.source.status.update(func(s *Status) { s.DeadLetters++ })
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
	r.source.status.update(func(s *Status) { s.Records += records; s.Position = r.position })
	r.send(&proto.SourceCommand{Command: &proto.SourceCommand_Credit{Credit: &proto.Credit{Bytes: r.collected}}})
	r.send(&proto.SourceCommand{Command: &proto.SourceCommand_Committed{Committed: &proto.Committed{Position: r.position}}})
	r.collected, r.pending, r.progress, r.lastCommit = 0, false, true, time.Now()
	return nil
}
