package logbroker

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

const (
	// lookBytes is how much may be appended between two looks at the disk.
	lookBytes = 8 << 20
	// lookInterval is the longest time between two looks while something is
	// appended: other programs fill disks, too.
	lookInterval = time.Second
	// fullInterval is the time between two looks at a disk that is full.
	fullInterval = 100 * time.Millisecond
	// plentyBytes must be free beside the reserve for a log to set space aside.
	plentyBytes = 1 << 30
)

// space guards the end of the disk. Below the reserve (Limits.FreeBytes) no
// records are taken, below half of it nothing else that can be refused: what
// is left is for decisions, markers and the database, which cannot go on
// without. Reading goes on, and writing does by itself once there is room.
type space struct {
	b      *Broker
	credit atomic.Int64 // bytes that may be appended before the next look
	next   atomic.Int64 // when to look again at the latest, ns since 1970

	mu        sync.Mutex // guards what follows
	free      uint64     // at the last look
	unlimited bool       // the file system does not tell
	said      bool       // that it is full
}

// diskFullError refuses a write. It is a KAFKA_STORAGE_ERROR, which clients
// retry, and an ENOSPC.
type diskFullError struct {
	dir           string
	free, reserve uint64
}

func (e *diskFullError) Error() string {
	return fmt.Sprintf("the disk of %s has %d KiB free, and %d KiB are kept for what cannot be refused: free some space, writing then goes on by itself", e.dir, e.free>>10, e.reserve>>10)
}

func (e *diskFullError) Unwrap() []error { return []error{kerr.KafkaStorageError, syscall.ENOSPC} }

// forRecords tells whether n bytes of records may be written.
func (s *space) forRecords(n int) error {
	if s.credit.Add(-int64(n)) >= 0 && s.b.now().UnixNano() < s.next.Load() {
		return nil
	}
	return s.look(int64(n))
}

// look asks how much is free, and gives out credit.
func (s *space) look(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	reserve := s.b.cfg.Limits.FreeBytes
	if !s.said || s.b.now().UnixNano() >= s.next.Load() {
		s.ask()
	}
	if s.unlimited {
		s.credit.Store(lookBytes)
		return nil
	}
	if s.said {
		n = max(n, lookBytes/8) // not for the next small batch only
	}
	if room := int64(s.free) - int64(reserve); room < n {
		s.credit.Store(0)
		if soon := s.b.now().Add(fullInterval).UnixNano(); soon < s.next.Load() {
			s.next.Store(soon)
		}
		err := &diskFullError{s.b.cfg.Dir, s.free, reserve}
		if !s.said {
			s.said = true
			s.b.log.Error("no records are taken", "error", err)
		}
		return err
	} else {
		s.credit.Store(min(room/2, lookBytes))
	}
	if s.said {
		s.said = false
		s.b.log.Warn("there is room on the disk again; records are taken", "dir", s.b.cfg.Dir, "free_mib", s.free>>20)
	}
	return nil
}

// ask asks the file system. mu is held.
func (s *space) ask() {
	usage, err := s.b.cfg.FS.GetDiskUsage(s.b.cfg.Dir)
	s.unlimited, s.free = err != nil, usage.AvailBytes
	s.next.Store(s.b.now().Add(lookInterval).UnixNano())
}

// mayReserve tells whether a log may set n bytes aside for what is to come, which count
// as taken until the next look.
func (s *space) mayReserve(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unlimited {
		return true
	}
	if s.said || int64(s.free)-int64(s.b.cfg.Limits.FreeBytes)-n < plentyBytes {
		return false
	}
	s.free -= uint64(n)
	return true
}

// forMetadata tells whether the database may take something new that can be
// refused.
func (s *space) forMetadata() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.b.now().UnixNano() >= s.next.Load() {
		s.ask()
	}
	if reserve := s.b.cfg.Limits.FreeBytes; !s.unlimited && s.free < reserve/2 {
		return &diskFullError{s.b.cfg.Dir, s.free, reserve / 2}
	}
	return nil
}

// forGroups is forMetadata for what groups are to remember, with what Kafka's
// coordinator answers when its log cannot be written: clients find it again and retry.
func (s *space) forGroups() error {
	if s.forMetadata() != nil {
		return kerr.NotCoordinator
	}
	return nil
}
