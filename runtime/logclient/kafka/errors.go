package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// ErrClosed says that the member, reader, writer or log was closed.
var ErrClosed = errors.New("kafka: closed")

// failure says what could not be done, with the sentinel of the cause. What
// is no answer of a broker means that none can be reached.
func (c *client) failure(what string, err error) error {
	if err == nil {
		return nil
	}
	if ours := wire.Sentinel(err); ours != nil && ours != logclient.ErrUnreachable {
		return fmt.Errorf("%w: %s: %w", ours, what, err)
	}
	if errors.Is(err, kgo.ErrClientClosed) || c.ctx.Err() != nil {
		return fmt.Errorf("%w: %s", ErrClosed, what)
	}
	var answered *kerr.Error
	if errors.As(err, &answered) && wire.Sentinel(err) == nil {
		return fmt.Errorf("kafka: %s: %w", what, err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer in time: %w", err)
	}
	return fmt.Errorf("%w: %s: tried %s; check the address and that the broker runs: %w",
		logclient.ErrUnreachable, what, strings.Join(c.seeds, ", "), err)
}

// answer is failure for a code in a response.
func (c *client) answer(what string, code int16) error {
	return c.failure(what, kerr.ErrorForCode(code))
}

// isTransport tells whether a request had no answer.
func isTransport(err error) bool {
	var answered *kerr.Error
	return err != nil && !errors.As(err, &answered)
}
