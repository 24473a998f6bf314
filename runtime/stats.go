package runtime

import (
	"slices"
	"sync"
	"time"
)

// maxCommitSamples bounds the commit times that are kept for percentiles.
const maxCommitSamples = 1 << 16

// Stats is what an App has done since it was made.
type Stats struct {
	RecordsIn     int64 // input records processed, replays included
	RecordsOut    int64 // records written by committed transactions, changelogs included
	Commits       int64
	Restored      int64 // records replayed from changelogs into stores
	Skipped       int64
	DeadLetters   int64
	CommitP50     time.Duration // from the begin of a commit to its end
	CommitP99     time.Duration
	FirstCommit   time.Time // when the first commit was done; zero before
	RunningTasks  int       // when the Stats were taken
	AssignedTasks int
}

// stats is shared by the workers of an App; they add to it per batch.
type stats struct {
	mu      sync.Mutex
	s       Stats
	commits []time.Duration
	now     func() time.Time
}

func (s *stats) addRecords(n int) {
	s.mu.Lock()
	s.s.RecordsIn += int64(n)
	s.mu.Unlock()
}

func (s *stats) addRestored(n int64) {
	s.mu.Lock()
	s.s.Restored += n
	s.mu.Unlock()
}

func (s *stats) addSkipped() {
	s.mu.Lock()
	s.s.Skipped++
	s.mu.Unlock()
}

func (s *stats) addDeadLetter() {
	s.mu.Lock()
	s.s.DeadLetters++
	s.mu.Unlock()
}

func (s *stats) addCommit(took time.Duration, records int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.s.FirstCommit.IsZero() {
		s.s.FirstCommit = s.now()
	}
	if len(s.commits) < maxCommitSamples {
		s.commits = append(s.commits, took)
	} else {
		s.commits[s.s.Commits%maxCommitSamples] = took
	}
	s.s.Commits++
	s.s.RecordsOut += records
}

func (s *stats) snapshot() Stats {
	s.mu.Lock()
	out := s.s
	sorted := slices.Clone(s.commits)
	s.mu.Unlock()
	slices.Sort(sorted)
	if n := len(sorted); n > 0 {
		out.CommitP50, out.CommitP99 = sorted[n/2], sorted[min(n-1, n*99/100)]
	}
	return out
}
