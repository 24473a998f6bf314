package quota

import (
	"math"
	"time"
)

// What has been used is kept as Kafka's brokers keep it by default, so that a client
// is made to wait as long as there: quota.window.num windows of quota.window.size.seconds.
const (
	windows  = 11
	windowMs = 1000
)

// usage is what somebody has used of a limit.
type usage struct {
	rate float64 // that it is held against

	// samples are what was used in the last windows, and in one more, which may have
	// begun before them; count of them are in use. A window begins with its first use.
	samples        [windows + 1]sample
	count, current int

	// tokens are left of a limit of Mutations, which is a bucket that fills with time;
	// below zero its owner has to wait.
	tokens   float64
	filledMs int64
}

// sample is what was used from start on; last is the last use.
type sample struct {
	value         float64
	startMs, last int64
}

// record adds an amount to the window of now.
func (u *usage) record(amount float64, nowMs int64) {
	switch s := &u.samples[u.current]; {
	case u.count == 0:
		u.count, *s = 1, sample{startMs: nowMs}
	case nowMs-s.startMs >= windowMs:
		u.current = (u.current + 1) % len(u.samples)
		u.count = max(u.count, u.current+1)
		u.samples[u.current] = sample{startMs: nowMs}
	}
	s := &u.samples[u.current]
	s.value += amount
	s.last = nowMs
}

// measure is what was used within the last windows, and how long they are: the time
// since the first of them began, with those in which nothing was used before it.
func (u *usage) measure(nowMs int64) (used float64, spanMs int64) {
	oldest := nowMs
	for i := range u.samples[:u.count] {
		s := &u.samples[i]
		if nowMs-s.last >= windows*windowMs {
			*s = sample{startMs: nowMs, last: nowMs}
		}
		used += s.value
		oldest = min(oldest, s.startMs)
	}
	spanMs = nowMs - oldest
	if full := spanMs / windowMs; full < windows-1 {
		spanMs += (windows - 1 - full) * windowMs
	}
	return used, spanMs
}

// until is how long it takes, if nothing is used meanwhile, until what was used is
// within a rate: in the time of the windows and this one together.
func (u *usage) until(nowMs int64) time.Duration {
	used, spanMs := u.measure(nowMs)
	return milliseconds(math.Round(used/u.rate*1000 - float64(spanMs)))
}

// fill adds the tokens of the time that has passed, and tells whether the bucket is full:
// then it has as many as come within all windows.
func (u *usage) fill(nowMs int64) bool {
	full := u.rate * windows * windowMs / 1000
	if u.filledMs == never {
		u.tokens = full
	} else {
		u.tokens = min(full, u.tokens+u.rate*float64(nowMs-u.filledMs)/1000)
	}
	u.filledMs = nowMs
	return u.tokens == full
}

// never is before any time that is looked at.
const never = math.MinInt64

// untilTokens is how long it takes until there are tokens again: not nothing, if there
// are none.
func (u *usage) untilTokens() time.Duration {
	if u.tokens >= 0 {
		return 0
	}
	return milliseconds(max(1, math.Round(-u.tokens/u.rate*1000)))
}

// milliseconds is a time to wait, as far as an answer can tell it.
func milliseconds(ms float64) time.Duration {
	return time.Duration(min(max(ms, 0), math.MaxInt32)) * time.Millisecond
}
