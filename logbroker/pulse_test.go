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
		perNap := 0
		during := func() {}
		go p.loop(stop, func(time.Duration) {
			naps++
			for range perNap {
				p.counts()
			}
			during()
			if naps == 10 {
				perNap = busyNap - 1
			}
		})
		for range wakePulse - 1 {
			p.counts()
		}
		synctest.Wait()
		if naps != 0 {
			t.Fatalf("%d naps after %d requests", naps, wakePulse-1)
		}
		perNap = busyNap
		p.counts()
		synctest.Wait()
		if naps != 11 {
			t.Fatalf("%d naps, 10 in which requests came and one in which fewer did", naps)
		}
		perNap = 0
		for range wakePulse {
			p.counts()
		}
		synctest.Wait()
		if naps != 12 {
			t.Fatalf("%d naps: it did not begin again, once", naps)
		}
		perNap, during = busyNap, p.rests
		for range wakePulse {
			p.counts()
		}
		synctest.Wait()
		if naps != 13 {
			t.Fatalf("%d naps: it goes on where others sync", naps)
		}
		perNap, during = 0, func() {}
		for range 10 * wakePulse {
			p.rests()
			p.counts()
		}
		synctest.Wait()
		if naps != 13 {
			t.Fatalf("%d naps: it beats while others sync", naps)
		}
		for range wakePulse {
			p.counts()
		}
		synctest.Wait()
		if naps != 14 {
			t.Fatalf("%d naps: it does not begin again when nobody has synced", naps)
		}
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
