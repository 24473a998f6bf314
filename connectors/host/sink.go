package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/runtime/logclient"
)

// SinkConfig describes a sink connector.
type SinkConfig struct {
	Config
	// Topics are read, every partition of them, from the position in the
	// target or else from the start.
	Topics []string
	// TopicWait is how long to wait for a topic that does not exist. Default
	// 1 min.
	TopicWait time.Duration
}

// Sink runs a sink connector.
type Sink struct {
	config SinkConfig
	status tracker
}

// NewSink checks the configuration; the plugin checks its settings when it is
// opened.
func NewSink(c SinkConfig) (*Sink, error) {
	var err error
	if c.Config, err = c.Config.withDefaults(); err != nil {
		return nil, err
	}
	if len(c.Topics) == 0 {
		return nil, fmt.Errorf("host: connector %q: Topics is empty", c.Name)
	}
	orDefault(&c.TopicWait, time.Minute)
	return &Sink{config: c}, nil
}

// Status tells how the sink is doing. It is safe for concurrent use.
func (s *Sink) Status() Status { return s.status.snapshot() }

// Run runs the sink until ctx ends, and then returns nil, or until it fails
// for good, with an *Error. It is called once.
func (s *Sink) Run(ctx context.Context) error {
	return supervise(ctx, &s.config.Config, &s.status, s.session)
}

// topicPoll is how often a topic that does not exist is looked for.
const topicPoll = 200 * time.Millisecond

// maxPollBytes bounds what is taken from the log at once.
const maxPollBytes = 1 << 20

// maxOutgoing holds all messages that the credit allows, those of one poll
// more, and the other commands, so that to queue one never blocks.
const maxOutgoing = 1 << 15

// sinkSession is one life of the plugin. It belongs to one goroutine.
type sinkSession struct {
	sink     *Sink
	config   *SinkConfig
	claim    *claim
	letters  *outbox
	process  *process
	outgoing chan *proto.SinkCommand
	reader   logclient.Reader // nil until the plugin has opened

	partitions []logclient.TopicPartition
	flight     flight
	credit     int64 // what the plugin takes at once
	progress   bool
}

func (s *Sink) session(ctx context.Context) (progress bool, err error) {
	c := &s.config
	partitions, err := c.allPartitions(ctx)
	if err != nil {
		return false, err
	}
	cl, err := claimConnector(ctx, &c.Config)
	if err != nil {
		return false, err
	}
	defer cl.release()
	r := &sinkSession{sink: s, config: c, claim: cl, partitions: partitions, flight: newFlight()}
	if r.letters, err = openLetters(ctx, &c.Config, cl); err != nil {
		return false, err
	}
	if r.process, err = startProcess(ctx, &c.Config); err != nil {
		return false, err
	}
	defer r.process.kill()
	s.status.update(func(st *Status) { st.PID = r.process.runner.pid })
	err = r.run(ctx)
	if r.reader != nil {
		_ = r.reader.Close()
	}
	return r.progress, err
}

// allPartitions lists the partitions of all topics, once they exist.
func (c *SinkConfig) allPartitions(ctx context.Context) ([]logclient.TopicPartition, error) {
	var out []logclient.TopicPartition
	deadline := time.Now().Add(c.TopicWait)
	for _, topic := range c.Topics {
		n, err := c.Config.partitions(ctx, topic)
		for err == nil && n == 0 {
			if time.Now().After(deadline) {
				return nil, c.fail("start", fmt.Errorf("topic %q does not exist after %v; create it, or correct the name", topic, c.TopicWait))
			}
			if !pause(ctx, topicPoll) {
				return nil, ctx.Err()
			}
			n, err = c.Config.partitions(ctx, topic)
		}
		if err != nil {
			return nil, err
		}
		for p := range n {
			out = append(out, logclient.TopicPartition{Topic: topic, Partition: p})
		}
	}
	return out, nil
}

func (r *sinkSession) run(ctx context.Context) error {
	// The stream outlives ctx: an orderly end needs it.
	streamCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, err := r.process.RunSink(streamCtx)
	if err != nil {
		return r.process.explain(&r.config.Config, "open", err)
	}
	// Send blocks when a plugin does not read. Its own goroutine bears that; it
	// ends with the stream.
	r.outgoing = make(chan *proto.SinkCommand, maxOutgoing)
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	sender.Go(func() {
		for {
			select {
			case c := <-r.outgoing:
				_ = stream.Send(c) // a broken stream says so when it is read
			case <-streamCtx.Done():
				return
			}
		}
	})
	open := &proto.OpenSink{Connector: r.config.Name, ConfigJson: r.config.Settings, Epoch: r.claim.epoch}
	for _, tp := range r.partitions {
		open.Partitions = append(open.Partitions, &proto.TopicPartition{Topic: tp.Topic, Partition: tp.Partition})
	}
	if err := r.send(&proto.SinkCommand{Command: &proto.SinkCommand_Open{Open: open}}); err != nil {
		return err
	}
	return r.loop(ctx, receive(streamCtx, stream.Recv))
}

// send queues a command. The credit bounds the messages in the queue, each
// counts as messageOverhead bytes at least; only answers to rejections without
// end, which the plugin does not read, can fill it.
func (r *sinkSession) send(c *proto.SinkCommand) error {
	select {
	case r.outgoing <- c:
		return nil
	default:
		return r.config.fail("write", fmt.Errorf("the plugin %s does not read what it is sent: %d commands wait", r.config.Command.Path, len(r.outgoing)))
	}
}

// loop reads the log while the plugin takes more, and takes its events.
func (r *sinkSession) loop(ctx context.Context, events <-chan event[*proto.SinkEvent]) error {
	w := newWatch(r.config.Limits)
	defer w.timer.Stop()
	quit := ctx.Done()
	for {
		wake, due, stopTimer, err := r.feed(quit != nil)
		if err != nil {
			return err
		}
		select {
		case e := <-events:
			ended, err := r.handle(ctx, e, w.stage)
			if ended || err != nil {
				stopTimer()
				return err
			}
			w.heard("write")
		case <-wake:
		case <-due:
		case <-quit:
			quit = nil
			w.stopping()
			if err := r.send(&proto.SinkCommand{Command: &proto.SinkCommand_Stop{Stop: &proto.Stop{}}}); err != nil {
				stopTimer()
				return err
			}
		case <-w.timer.C:
			stopTimer()
			return w.late(&r.config.Config, r.process)
		}
		stopTimer()
	}
}

// feed sends what the log has, as far as the credit goes. It returns what to
// wait for before it is called again.
func (r *sinkSession) feed(more bool) (wake <-chan struct{}, due <-chan time.Time, stop func() bool, err error) {
	stop = func() bool { return true }
	for more && r.reader != nil && r.flight.bytes < r.credit {
		poll := r.reader.Poll(time.Now())
		if err := r.checkPoll(poll); err != nil {
			return nil, nil, stop, err
		}
		messages, err := r.flight.add(poll.Batches)
		if err != nil {
			return nil, nil, stop, r.config.refuse("read", "check the log", err)
		}
		for _, m := range messages {
			if err := r.send(&proto.SinkCommand{Command: &proto.SinkCommand_Write{Write: m}}); err != nil {
				return nil, nil, stop, err
			}
		}
		if len(poll.Batches) > 0 {
			continue
		}
		if !poll.NextDue.IsZero() {
			timer := time.NewTimer(time.Until(poll.NextDue))
			due, stop = timer.C, timer.Stop
		}
		return r.reader.Wake(), due, stop, nil
	}
	return nil, nil, stop, nil
}

func (r *sinkSession) checkPoll(poll logclient.Poll) error {
	err := pollError(poll)
	if errors.Is(err, logclient.ErrOffsetGone) {
		return r.config.refuse("read", "records were deleted before the sink read them: correct the positions in the target, or empty it", err)
	}
	if err != nil {
		return r.config.logError("read", err)
	}
	return nil
}

// handle takes one event. ended is set after the stream's orderly end.
func (r *sinkSession) handle(ctx context.Context, e event[*proto.SinkEvent], stage string) (ended bool, err error) {
	switch {
	case errors.Is(e.err, io.EOF) && stage == "stop":
		return true, nil
	case errors.Is(e.err, io.EOF):
		return true, r.process.explain(&r.config.Config, stage, errors.New("the plugin ended the stream without a reason"))
	case e.err != nil:
		return true, r.process.explain(&r.config.Config, stage, e.err)
	}
	switch m := e.message.Event.(type) {
	case *proto.SinkEvent_Opened:
		return false, r.opened(ctx, m.Opened)
	case *proto.SinkEvent_Durable:
		return false, r.durable(m.Durable)
	case *proto.SinkEvent_Rejected:
		return false, r.rejected(ctx, m.Rejected.Rejections)
	case *proto.SinkEvent_Error:
		return true, r.process.lastWords(r.config.reported(stage, m.Error))
	}
	return false, nil
}

// opened begins to read where the target stands.
func (r *sinkSession) opened(ctx context.Context, o *proto.SinkOpened) error {
	if r.reader != nil || o.CreditBytes <= 0 {
		return r.config.refuse("open", "mend the connector", errors.New("the plugin opened twice, or gave no credit"))
	}
	r.credit = min(o.CreditBytes, r.config.Limits.InFlightBytes, maxOutgoing/2*messageOverhead)
	known := map[logclient.TopicPartition]int64{}
	for _, p := range o.Positions {
		known[logclient.TopicPartition{Topic: p.Topic, Partition: p.Partition}] = p.NextOffset
	}
	earliest, err := r.config.offsets(ctx, r.partitions, logclient.Earliest)
	if err != nil {
		return err
	}
	latest, err := r.config.offsets(ctx, r.partitions, logclient.LatestStable)
	if err != nil {
		return err
	}
	var positions []logclient.Position
	for _, tp := range r.partitions {
		next, ok := known[tp]
		if !ok {
			next = earliest[tp].Offset
		}
		if err := r.checkPosition(tp, next, earliest[tp].Offset, latest[tp].Offset); err != nil {
			return err
		}
		r.flight.begin(tp, next)
		positions = append(positions, logclient.Position{TopicPartition: tp, Offset: next, LeaderEpoch: -1})
	}
	r.reader, err = r.config.Log.NewReader(logclient.ReaderConfig{Positions: positions, MaxPollBytes: maxPollBytes})
	if err != nil {
		return r.config.logError("read", err)
	}
	r.sink.status.update(func(s *Status) { s.State, s.Positions = Running, known })
	return nil
}

// checkPosition refuses a position that is not in the log: records would be
// lost, or written twice, in silence.
func (r *sinkSession) checkPosition(tp logclient.TopicPartition, next, earliest, latest int64) error {
	switch {
	case next > latest:
		return r.config.refuse("open", "the topic was made anew, or the target belongs to another log: delete its positions to write everything again",
			fmt.Errorf("the target holds %s/%d up to offset %d, but the topic ends at %d", tp.Topic, tp.Partition, next, latest))
	case next < earliest:
		return r.config.refuse("open", "records were deleted before the sink read them: correct the position in the target, or empty it",
			fmt.Errorf("the target holds %s/%d up to offset %d, but the topic begins at %d", tp.Topic, tp.Partition, next, earliest))
	}
	return nil
}

// durable learns what the target holds: of what it was sent.
func (r *sinkSession) durable(d *proto.Durable) error {
	for _, p := range d.Positions {
		tp := logclient.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		if sent := r.flight.end(tp); p.NextOffset > sent {
			return r.config.refuse("write", "mend the connector: it must tell what it has stored, no more",
				fmt.Errorf("the plugin %s says that %s/%d is durable up to offset %d, but it was sent nothing from offset %d on",
					r.config.Command.Path, p.Topic, p.Partition, p.NextOffset, sent))
		}
	}
	r.progress = true
	records := int64(0)
	for _, p := range d.Positions {
		tp := logclient.TopicPartition{Topic: p.Topic, Partition: p.Partition}
		records += r.flight.settle(tp, p.NextOffset)
		r.forgetRejected(tp, p.NextOffset)
	}
	r.sink.status.update(func(s *Status) {
		s.Records += records
		for _, p := range d.Positions {
			s.Positions[logclient.TopicPartition{Topic: p.Topic, Partition: p.Partition}] = p.NextOffset
		}
	})
	return nil
}
