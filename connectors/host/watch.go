package host

import (
	"fmt"
	"time"
)

// watch is how long a plugin may say nothing, or take to end once it was told
// to. It belongs to one session.
type watch struct {
	limits Limits
	work   string // the stage after open: read or write
	stage  string
	limit  time.Duration
	timer  *time.Timer
	quit   <-chan struct{} // when to tell the plugin to stop; nil once it was
}

func newWatch(limits Limits, work string, quit <-chan struct{}) *watch {
	return &watch{limits: limits, work: work, stage: "open", limit: limits.Open, timer: time.NewTimer(limits.Open), quit: quit}
}

// heard is called when the plugin said something.
func (w *watch) heard() {
	if !w.stopping() {
		w.stage, w.limit = w.work, w.limits.Hang
		w.timer.Reset(w.limit)
	}
}

// patient begins the time anew: the host was busy itself.
func (w *watch) patient() { w.timer.Reset(w.limit) }

// stop is called when the plugin was told to stop.
func (w *watch) stop() {
	w.quit, w.stage, w.limit = nil, "stop", w.limits.Stop
	w.timer.Reset(w.limit)
}

func (w *watch) stopping() bool { return w.stage == "stop" }

// late kills a plugin whose time is over.
func (w *watch) late(c *Config, p *process) error {
	p.kill()
	err := fmt.Errorf("the plugin hangs: it said nothing for %v, and was killed", w.limit)
	if w.stopping() {
		err = fmt.Errorf("the plugin did not end within %v after it was told to, and was killed", w.limit)
	}
	e := c.fail(w.stage, err)
	e.Output = p.output.tail()
	return e
}
