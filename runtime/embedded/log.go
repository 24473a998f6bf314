package embedded

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
)

const (
	clientID = "levada-embedded"
	host     = "/embedded"
)

// Log is a broker of this process as the runtime sees it.
type Log struct {
	broker *logbroker.Broker
}

var _ logclient.Log = (*Log)(nil)

// New returns the broker as a Log. The broker stays the caller's to close,
// after the Log.
func New(broker *logbroker.Broker) *Log { return &Log{broker: broker} }

// Admin implements logclient.Log.
func (l *Log) Admin() logclient.Admin { return admin{l.broker} }

// Close implements logclient.Log. The broker is not closed.
func (l *Log) Close() error { return nil }

// call sends a request and resolves with its typed answer.
func call[R kmsg.Response](b *logbroker.Broker, req kmsg.Request) *logclient.Pending[R] {
	return callAs[R](b, logbroker.NewConn(clientID, host), req)
}

func callAs[R kmsg.Response](b *logbroker.Broker, conn *logbroker.Conn, req kmsg.Request) *logclient.Pending[R] {
	p := logclient.NewPending[R]()
	b.Handle(conn, req, func(resp kmsg.Response) {
		typed, ok := resp.(R)
		if !ok {
			p.Resolve(typed, fmt.Errorf("embedded: %s was answered with a %T", kmsg.NameForKey(req.Key()), resp))
			return
		}
		p.Resolve(typed, nil)
	})
	return p
}

// then makes a Pending that is fn of the answer.
func then[A, B any](p *logclient.Pending[A], fn func(A) (B, error)) *logclient.Pending[B] {
	out := logclient.NewPending[B]()
	p.OnDone(func() {
		v, err := p.Result()
		if err != nil {
			var zero B
			out.Resolve(zero, err)
			return
		}
		out.Resolve(fn(v))
	})
	return out
}

// mapped turns an error code of the protocol into the errors of the seam.
func mapped(code int16, what string) error {
	err := kerr.ErrorForCode(code)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, sentinel(err))
}

// sentinel joins a protocol error with the seam's error for it.
func sentinel(err error) error {
	for _, m := range []struct {
		is   []error
		then error
	}{
		{[]error{kerr.UnknownTopicOrPartition, kerr.UnknownTopicID}, logclient.ErrUnknownTopic},
		{[]error{kerr.TopicAlreadyExists}, logclient.ErrTopicExists},
		{[]error{kerr.UnstableOffsetCommit}, logclient.ErrUnstable},
		{[]error{kerr.OffsetOutOfRange}, logclient.ErrOffsetGone},
		{[]error{kerr.TransactionAbortable, kerr.InvalidTxnState}, logclient.ErrAborted},
		{[]error{
			kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.UnknownProducerID,
			kerr.FencedInstanceID, kerr.IllegalGeneration, kerr.UnknownMemberID,
		}, logclient.ErrFenced},
	} {
		for _, is := range m.is {
			if errors.Is(err, is) {
				return fmt.Errorf("%w: %w", m.then, err)
			}
		}
	}
	return err
}
