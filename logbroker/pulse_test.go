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
		go p.loop(stop, func(time.Duration) {
			naps++
			for range perNap {
				p.counts()
			}
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
		close(stop)
	})
}

// TestPulseIsForThePageCache: a broker beats only where a processor is spare and no
// acknowledgement waits for the disk.
func TestPulseIsForThePageCache(t *testing.T) {
	for _, c := range []struct {
		fsync FsyncPolicy
		spare bool
		beats bool
	}{{FsyncOS, true, canNap}, {FsyncInterval, true, canNap}, {FsyncOS, false, false}, {FsyncAlways, true, false}} {
		b, err := Open(Config{Dir: t.TempDir(), Fsync: c.fsync, SpareProcessor: c.spare})
		if err != nil {
			t.Fatal(err)
		}
		if beats := b.pulse.wake != nil; beats != c.beats {
			t.Errorf("fsync %v, spare processor %v: beats %v", c.fsync, c.spare, beats)
		}
		for range 2 * wakePulse {
			b.pulse.counts()
		}
		if err := b.Close(); err != nil { // waits for the loop
			t.Error(err)
		}
	}
}
