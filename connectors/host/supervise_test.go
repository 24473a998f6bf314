package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestBackoff asserts how long the host waits between starts, that progress
// begins the waits anew, and that it gives up when the budget is used.
func TestBackoff(t *testing.T) {
	tests := []struct {
		progress []bool // of each start
		budget   int
		want     string // the waits in milliseconds
	}{
		{make([]bool, 6), 5, "[100 200 400 800 800]"},
		{[]bool{false, false, true, false, false, false}, 3, "[100 200 100 200 400]"},
		{make([]bool, 1), -1, "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.want, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, err := Config{
					Name: "n", Command: Command{Path: "/p"}, Log: newMemLog(), Logger: slog.New(slog.DiscardHandler),
					Restart: Restart{MinBackoff: 100 * time.Millisecond, MaxBackoff: 800 * time.Millisecond, Budget: tt.budget},
				}.withDefaults()
				if err != nil {
					t.Fatal(err)
				}
				var status tracker
				waits, starts, last := []int64{}, 0, time.Now()
				cause := errors.New("no network")
				err = supervise(t.Context(), &c, &status, func(context.Context) (bool, error) {
					if starts > 0 {
						waits = append(waits, time.Since(last).Milliseconds())
					}
					if starts == len(tt.progress) {
						t.Fatalf("it did not give up after %d starts", starts)
					}
					starts++
					last = time.Now()
					return tt.progress[starts-1], cause
				})
				if got := fmt.Sprint(waits); got != tt.want {
					t.Errorf("the waits were %s, want %s", got, tt.want)
				}
				e, ok := errors.AsType[*Error](err)
				if !ok || !errors.Is(err, cause) || e.Retryable || !strings.Contains(err.Error(), "gave up after") {
					t.Errorf("it ended with %v", err)
				}
				if st := status.snapshot(); st.State != Failed || st.Starts != int64(len(tt.progress)) || !errors.Is(st.LastError, cause) {
					t.Errorf("the status is %+v", st)
				}
			})
		})
	}
}

// TestFinalError asserts that what starting again cannot mend is not tried
// again, and that a stop during a wait is no failure.
func TestFinalError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Config{Name: "n", Logger: slog.New(slog.DiscardHandler), Restart: Restart{MinBackoff: time.Hour, MaxBackoff: time.Hour, Budget: 8}}
		var status tracker
		err := supervise(t.Context(), &c, &status, func(context.Context) (bool, error) {
			return false, c.refuse("open", "mend it", errors.New("bad"))
		})
		if st := status.snapshot(); err == nil || st.Starts != 1 || st.State != Failed {
			t.Errorf("got %v, %+v", err, st)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- supervise(ctx, &c, &status, func(context.Context) (bool, error) { return false, errors.New("bad") })
		}()
		synctest.Wait() // until it waits for an hour
		if st := status.snapshot(); st.State != Backoff {
			t.Errorf("the state is %s, want %s", st.State, Backoff)
		}
		cancel()
		if err := <-done; err != nil || status.snapshot().State != Stopped {
			t.Errorf("a stop ended with %v, %+v", err, status.snapshot())
		}
	})
}
