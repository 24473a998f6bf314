package logbroker

import (
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestPulse: it beats while requests come, and sleeps while few do.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pulse{wake: make(chan struct{}, 1)}
		stop := make(chan struct{})
		naps := 0
		during := func() {}
		go p.loop(stop, func(time.Duration) {
			naps++
			during()
		})
		want := func(n int, why string) {
			t.Helper()
			synctest.Wait()
			if naps != n {
				t.Fatalf("%d naps, want %d: %s", naps, n, why)
			}
			naps = 0
		}
		come := func(parts int) {
			for range parts {
				p.counts()
			}
		}
		come(wakePulse - 1)
		want(0, "few parts of requests have come")
		during = func() {
			if naps <= 10 && naps%idleNaps != 1 {
				p.counts()
			}
		}
		come(1)
		want(10+idleNaps, "parts came until the tenth, with breaks, and then none")
		during = func() {}
		come(wakePulse)
		want(idleNaps, "it begins again, once")
		during = p.rests
		come(wakePulse)
		want(1, "it ends where others sync")
		during = func() {}
		for range 10 * wakePulse {
			p.rests()
			p.counts()
		}
		want(0, "it does not begin while others sync")
		come(wakePulse)
		want(idleNaps, "it begins again when nobody has synced")
		close(stop)
	})
}

// TestPulseNeedsAProcessor: a broker beats only where a processor is spare.
func TestPulseNeedsAProcessor(t *testing.T) {
	for _, spare := range []bool{false, true} {
		b, err := Open(Config{Dir: t.TempDir(), SpareProcessor: spare})
		if err != nil {
			t.Fatal(err)
		}
		if beats := b.pulse.wake != nil; beats != (spare && canNap) {
			t.Errorf("spare processor %v: beats %v", spare, beats)
		}
		for range 2 * wakePulse {
			b.pulse.counts()
		}
		if err := b.Close(); err != nil { // waits for the loop
			t.Error(err)
		}
	}
}

// TestStint: who works on gives its processor to others, once in a while.
func TestStint(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p := &pulse{wake: make(chan struct{}, 1)}
	var ran atomic.Bool
	go ran.Store(true)
	for range 3 { // Go may choose the same one again
		p.step(&stint{})
	}
	if !ran.Load() {
		t.Error("nobody else ran")
	}
	s := &stint{}
	p.step(s)
	if began := s.began; began.IsZero() {
		t.Error("its next stint has not begun")
	} else if p.step(s); s.began != began && time.Since(began) < napTime {
		t.Error("it gave its processor back at once")
	}
}
