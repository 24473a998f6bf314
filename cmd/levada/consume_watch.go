package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// connectionWatch tells the user what keeps a client from its brokers, which by itself
// tries on for ever without a word. It is a hook of the client.
type connectionWatch struct {
	note func(text string)
	end  context.CancelCauseFunc // of what the client is used for

	mu    sync.Mutex
	begun bool              // whoever made the client has said what was wrong until then
	told  map[string]string // by broker: what is wrong with it
}

// begin is called once the client is connected.
func (w *connectionWatch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun, w.told = true, map[string]string{}
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (w *connectionWatch) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port)))
	switch {
	case !w.begun || errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed):
	case err == nil:
		if w.told[at] != "" {
			w.note(fmt.Sprintf("connected to the broker at %s again", at))
		}
		delete(w.told, at)
	case isLoginRefused(err):
		w.end(err)
	default:
		if text := lastingText(err); text != w.told[at] {
			w.told[at] = text
			w.note(fmt.Sprintf("the broker at %s cannot be reached, and is tried on: %s", at, text))
		}
	}
}

// isLoginRefused tells of what no further try mends: the credentials stay as they are.
func isLoginRefused(err error) bool {
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism) || errors.Is(err, kerr.IllegalSaslState)
}

// lastingText is an error without the port that the client has chosen for this try.
func lastingText(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}
