package logbroker

import (
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
		p.rests()
		for _, want := range []int{13, 14} {
			for range wakePulse {
				p.counts()
			}
			synctest.Wait()
			if naps != want {
				t.Fatalf("%d naps, want %d: others synced, and then they did not", naps, want)
			}
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
