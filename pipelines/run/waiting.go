package run

import (
	"context"
	"time"
)

// idleNotice is how long nothing happens before it is said what a run that is
// to end by itself waits for.
const idleNotice = 3 * time.Second

// reading names the sources that have not ended.
func (p *pipeline) reading() (names []string) {
	for i := range p.ended {
		if !p.ended[i].Load() {
			names = append(names, p.plan.Sources[i].Name)
		}
	}
	return names
}

// sayWaiting logs, once, which sources keep an idle run from its end.
func (p *pipeline) sayWaiting(ctx context.Context) error {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	last, since := int64(-1), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := p.process.App.Stats().RecordsIn
		for _, s := range p.sources {
			now += s.Status().Records
		}
		if now != last {
			last, since = now, time.Now()
			continue
		}
		if names := p.reading(); len(names) > 0 && time.Since(since) >= idleNotice {
			p.Logger.Warn("nothing happens, but the run does not end before its sources do: one that follows its input never does. Set its `follow: false`, or stop the run: nothing is lost",
				"pipeline", p.plan.Name, "sources", names)
			return nil
		}
	}
}
