package host

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/levada/levada/runtime/logclient"
)

// TestConfigFaults asserts that all faults of a configuration are told at
// once, by the names of their fields.
func TestConfigFaults(t *testing.T) {
	_, err := NewSource(SourceConfig{Config: Config{
		Name: "orders", OnError: "explode",
		Limits: Limits{Hang: -time.Second, InFlightBytes: -1, BatchBytes: 25 << 20},
	}})
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, w := range []string{
		`connector "orders"`, "set Command.Path", "set Log", `OnError "explode" is none of`,
		"Limits.Hang to a time above 0, or to 0 for the default; it is -1s", "Limits.InFlightBytes above 0", "Limits.BatchBytes to at most 25165824, or to 0 for the default; it is 26214400",
	} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error lacks %q: %v", w, err)
		}
	}
	good := testConfig(t, newMemLog(), "orders", "file", `{}`)
	good.Limits.BatchBytes = maxBatchBytes
	if _, err := NewSource(SourceConfig{Config: good}); err == nil || !strings.Contains(err.Error(), "Topic is empty") {
		t.Errorf("a source without a topic: %v", err)
	}
	if _, err := NewSink(SinkConfig{Config: good}); err == nil || !strings.Contains(err.Error(), "Topics is empty") {
		t.Errorf("a sink without topics: %v", err)
	}
	if _, err := NewSource(SourceConfig{Config: good, Topic: "t"}); err != nil {
		t.Error(err)
	}
}

// TestLogErrors asserts which failures of the log are tried again.
func TestLogErrors(t *testing.T) {
	c := Config{Name: "n"}
	for _, tt := range []struct {
		err       error
		retryable bool
		mend      string
	}{
		{errors.New("the disk is slow"), true, ""},
		{fmt.Errorf("append: %w", logclient.ErrUnreachable), true, ""},
		{fmt.Errorf("append: %w", logclient.ErrFenced), false, "let one of them run"},
		{fmt.Errorf("%w: %w", logclient.ErrAborted, logclient.ErrTooLarge), false, "max.message.bytes"},
	} {
		e, ok := errors.AsType[*Error](c.logError("write", tt.err))
		if !ok || !errors.Is(e, tt.err) || e.Retryable != tt.retryable || !strings.Contains(e.Mend, tt.mend) {
			t.Errorf("%v became %+v", tt.err, e)
		}
	}
	if err := c.logError("write", context.Canceled); err != context.Canceled {
		t.Errorf("the end of the run became %v", err)
	}
}
