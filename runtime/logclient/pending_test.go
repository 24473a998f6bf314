package logclient_test

import (
	"context"
	"errors"
	"testing"

	"github.com/levada/levada/runtime/logclient"
)

func TestPending(t *testing.T) {
	p := logclient.NewPending[int]()
	calls := 0
	p.OnDone(func() { calls++ })
	if p.Done() {
		t.Error("done before Resolve")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gaveUp := errors.New("gave up")
	cancel(gaveUp)
	if _, err := p.Wait(ctx); !errors.Is(err, gaveUp) {
		t.Errorf("Wait with an ended context: %v", err)
	}
	failure := errors.New("failure")
	p.Resolve(7, failure)
	p.Resolve(8, nil) // only the first counts
	if v, err := p.Result(); v != 7 || !errors.Is(err, failure) {
		t.Errorf("got %d, %v", v, err)
	}
	if v, err := p.Wait(t.Context()); v != 7 || !errors.Is(err, failure) {
		t.Errorf("Wait: got %d, %v", v, err)
	}
	p.OnDone(func() { calls++ }) // at once
	if calls != 2 {
		t.Errorf("%d calls, want 2", calls)
	}
	if v, err := logclient.Resolved("x", nil).Result(); v != "x" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
}

func TestPendingResultTooEarly(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Result of a Pending that is not done returns")
		}
	}()
	_, _ = logclient.NewPending[int]().Result()
}
