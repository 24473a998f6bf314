package logbroker

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/quota"
)

// TestLongWaitsAreNotCutShort: a limit that asks for less does not end the wait for
// another.
func TestLongWaitsAreNotCutShort(t *testing.T) {
	now := time.Now()
	c := eve()
	for _, wait := range []time.Duration{10 * time.Second, time.Second, -time.Second, 0} {
		if c.throttle(nil, wait, now); c.mutedFor(now) != 10*time.Second {
			t.Errorf("muted for %v after another %v", c.mutedFor(now), wait)
		}
	}
}

// TestTheProgramItselfHasNoLimit: a caller in this process makes as many topics as it
// wants, whatever the limit of clients without a name.
func TestTheProgramItselfHasNoLimit(t *testing.T) {
	w := newWorkbench(t)
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.Mutations, 1), nil)
	for i := range 50 {
		w.topic(fmt.Sprint("t", i), 10)
	}
}

// TestOnlyProducesCountAsProduced: however large other requests are, the limit of what is
// produced does not make their client wait.
func TestOnlyProducesCountAsProduced(t *testing.T) {
	w := newWorkbench(t)
	w.want(w.setQuota(map[string]*string{"user": nil}, quota.ProducerBytes, 1), nil)
	c := eve()
	for key := range int16(kmsg.MaxKey) {
		w.metered(c, &usage{key: key, size: 1 << 20, begun: w.now}, nil)
		if muted := c.mutedFor(w.now) > 0; muted != (kmsg.Key(key) == kmsg.Produce) {
			t.Fatalf("%s: made to wait: %v", kmsg.NameForKey(key), muted)
		}
		c = eve()
	}
}
