package logbroker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/levada/levada/internal/datadir"
	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/meta"
)

// removeDeleted removes the directories of all topics that were deleted and still
// have some. What resists is said and left for the next time. taken tells whether
// another topic has the name.
func (s *topicSet) removeDeleted(taken func(name string) bool) error {
	deleted, err := s.b.meta.DeletedTopics()
	if err != nil {
		return err
	}
	for _, row := range deleted {
		if err := s.removeDirs(row, taken(row.Name)); err != nil {
			s.b.log.Warn("directories of a deleted topic are still there, which is tried again", "topic", row.Name, "error", err)
		}
	}
	return nil
}

// retryRemovals is removeDeleted while the broker runs.
func (s *topicSet) retryRemovals() error {
	s.edit.Lock()
	defer s.edit.Unlock()
	return s.removeDeleted(func(name string) bool { return s.byName(name) != nil })
}

// clearName makes sure that the directories of partitions from to below to are
// free: a deletion of the name is finished first, or it would be carried out on the
// new topic; and what lies there of no topic would be taken for its records. edit is
// held.
func (s *topicSet) clearName(name string, from, to int32) error {
	deleted, err := s.b.meta.DeletedTopics()
	if err != nil {
		return err
	}
	for _, row := range deleted {
		if row.Name != name {
			continue
		}
		if err := s.removeDirs(row, s.byName(name) != nil); err != nil {
			return err
		}
	}
	for i := from; i < to; i++ {
		dir := s.dir(name, i)
		files, err := s.b.gate.List(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("directory %s: %w", dir, err)
		}
		if len(files) > 0 {
			return fmt.Errorf("directory %s holds files and belongs to no topic: move it away", dir)
		}
	}
	return nil
}

// isUnmade tells whether a log could not be opened because its first segment could not
// be made, as on a full disk or without file descriptors: nothing was ever in it, or it
// was to begin anew. Of a log that no run has opened yet no look at its directory is
// needed, which may fail for the same reason.
func (s *topicSet) isUnmade(cfg commitlog.Config, err error) bool {
	if damage := (*commitlog.DamageError)(nil); errors.As(err, &damage) || cfg.Existing && cfg.Cleanly {
		return false
	}
	if !cfg.Existing {
		return true
	}
	files, err := s.b.gate.List(cfg.Dir)
	return err == nil && !slices.ContainsFunc(files, func(name string) bool { return strings.HasSuffix(name, ".log") })
}

// unmade are the partitions without a first segment, for the next start: otherwise it
// would take them for such whose files somebody has removed.
func (s *topicSet) unmade() (out []byte) {
	s.each(func(p *partition) {
		if p.unmade {
			out = binary.BigEndian.AppendUint32(append(out, p.topic.id[:]...), uint32(p.index))
		}
	})
	return out
}

func decodeUnmade(value []byte) map[meta.Partition]bool {
	out := map[meta.Partition]bool{}
	for len(value) >= len(meta.TopicID{})+4 {
		n := len(meta.TopicID{})
		out[meta.Partition{Topic: meta.TopicID(value[:n]), Index: int32(binary.BigEndian.Uint32(value[n:]))}] = true
		value = value[n+4:]
	}
	return out
}

// removeDirs moves the directories of a deleted topic aside, durably, so that
// the name is free, and then removes them. It can be repeated. Where the name is
// taken, what has it is another topic's and stays.
func (s *topicSet) removeDirs(row meta.Topic, taken bool) error {
	fail := func(err error) error { return fmt.Errorf("deleted topic %s: %w", row.Name, err) }
	aside := func(i int32) string {
		return s.b.dir.Join(deletedDir, encodeID(row.ID)+"-"+strconv.Itoa(int(i)))
	}
	for i := range row.Partitions {
		if taken {
			break
		}
		if err := s.b.gate.Rename(s.dir(row.Name, i), aside(i)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail(err)
		}
	}
	err := errors.Join(datadir.SyncDir(s.b.gate, s.b.dir.Join(deletedDir)), datadir.SyncDir(s.b.gate, s.b.dir.Join(logsDir)))
	if err != nil {
		return fail(err)
	}
	for i := range row.Partitions {
		if err := s.b.gate.RemoveAll(aside(i)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail(err)
		}
	}
	// Or a power loss would bring back directories that no row knows any more.
	if err := datadir.SyncDir(s.b.gate, s.b.dir.Join(deletedDir)); err != nil {
		return fail(err)
	}
	batch := s.b.meta.NewBatch()
	batch.ForgetDeleted(row.ID)
	// Not synced by itself: the row of a topic created later under this name
	// is, and comes after it in the database's log.
	return s.b.meta.Commit(batch, false)
}
