package embedded

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
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
	req.SetVersion(versions[req.Key()])
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
func mapped(what string, code int16) error {
	err := kerr.ErrorForCode(code)
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, sentinel(err))
}

// sentinel joins a protocol error with the seam's error for it.
func sentinel(err error) error {
	if ours := wire.Sentinel(err); ours != nil {
		return fmt.Errorf("%w: %w", ours, err)
	}
	return err
}

// versions of requests that the broker in this process is sent.
var versions = map[int16]int16{
	kmsg.CreateTopics.Int16(): 7, kmsg.DeleteTopics.Int16(): 6, kmsg.Metadata.Int16(): 12, kmsg.DescribeConfigs.Int16(): 4,
	kmsg.DeleteRecords.Int16(): 2, kmsg.ListOffsets.Int16(): 8, kmsg.OffsetFetch.Int16(): 9, kmsg.OffsetForLeaderEpoch.Int16(): 4,
	kmsg.InitProducerID.Int16(): 5, kmsg.TxnOffsetCommit.Int16(): 5, kmsg.EndTxn.Int16(): 5, kmsg.OffsetCommit.Int16(): 9,
	kmsg.Produce.Int16(): 11, kmsg.JoinGroup.Int16(): 9, kmsg.SyncGroup.Int16(): 5, kmsg.Heartbeat.Int16(): 4, kmsg.LeaveGroup.Int16(): 5,
}
