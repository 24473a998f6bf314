package commitlog

import (
	"errors"
	"fmt"
	"slices"

	"github.com/levada/levada/internal/recordbatch"
)

// endOfBatches decides what a place is where no batch can be read: damage, the
// zeros that a failed append left in a segment that was then sealed, or a torn
// tail.
func (r *recovery) endOfBatches(s *segment, position, limit int64, last bool, reason error) error {
	damage := &DamageError{Path: s.path(), Position: position, Offset: r.end, Reason: reason}
	if !errors.Is(reason, recordbatch.ErrCorrupt) {
		return reason // the file cannot be read at all
	}
	zeros, err := r.onlyZeros(s, position, limit)
	if err != nil {
		return err
	}
	if !last {
		if zeros {
			return nil
		}
		return damage
	}
	if r.end < r.mark {
		return damage
	}
	r.log.Warn("cutting a torn tail", "segment", s.path(), "at_byte", position, "bytes", limit-position, "offset", r.end, "reason", reason)
	return r.cut(s, position, limit, damage)
}

func (r *recovery) onlyZeros(s *segment, from, to int64) (bool, error) {
	buf := make([]byte, min(to-from, 64<<10))
	for at := from; at < to; at += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), to-at)]
		if _, err := s.ReadAt(p, at); err != nil {
			return false, err
		}
		if slices.ContainsFunc(p, func(c byte) bool { return c != 0 }) {
			return false, nil
		}
	}
	return true, nil
}

// cut replaces the last segment by a copy of its whole batches. If whole
// batches follow the cut the file stays under another name: a power loss may
// leave such, but so may a disk that lost what it had said was durable.
func (r *recovery) cut(s *segment, position, limit int64, damage *DamageError) error {
	if r.batchFollows(s, position, limit) {
		kept := offsetName(s.base, fmt.Sprintf("%s.torn-%d", logSuffix, position))
		if err := r.dir.remove(kept); err != nil {
			return err
		}
		if err := r.cfg.FS.Link(s.path(), r.dir.join(kept)); err != nil {
			return fmt.Errorf("commitlog: keep the torn tail: %w", err)
		}
		// Its name must not be lost where the copy's rename is kept.
		if err := r.dir.sync(); err != nil {
			return err
		}
		r.log.Warn("batches follow the torn place; the file as it was is kept", "file", r.dir.join(kept))
		r.notes.add(damage)
	}
	r.changed = true
	return r.rewrite(s, position, true)
}

// rewrite puts a synced copy of the first bytes in the place of a segment.
func (r *recovery) rewrite(s *segment, sizeBytes int64, writable bool) error {
	if err := r.dir.copyPrefix(logName(s.base), sizeBytes); err != nil {
		return err
	}
	s.files.Lock()
	old := s.file
	s.file = nil
	s.files.Unlock()
	if old != nil {
		if err := old.Close(); err != nil {
			return fmt.Errorf("commitlog: %w", err)
		}
	}
	return s.open(writable)
}

// maxTornSearch bounds the memory that looking past a torn place takes, and
// maxTornChecks the bytes whose checksums are computed: each record may be written so
// that it looks like the headers of very many batches, each up to the end of the file.
const (
	maxTornSearch = 64 << 20
	maxTornChecks = 16 * maxTornSearch
)

// batchFollows looks for a whole batch of a later offset past the torn place. Where
// that would take too long it says that there may be one.
func (r *recovery) batchFollows(s *segment, position, limit int64) bool {
	data := make([]byte, min(limit-position, maxTornSearch))
	if _, err := s.ReadAt(data, position); err != nil {
		return false
	}
	checked := 0
	for at := 1; at+recordbatch.HeaderSize <= len(data); at++ {
		if data[at+16] != recordbatch.Magic {
			continue
		}
		b, _, err := recordbatch.Split(data[at:])
		if err != nil || b.BaseOffset() <= r.end || b.BaseOffset()-r.end > limit {
			continue
		}
		if checked += len(b); checked > maxTornChecks || b.Validate() == nil {
			return true
		}
	}
	return false
}
