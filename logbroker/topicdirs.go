package logbroker

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"

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
			return fmt.Errorf("directory %s %w: move it away", dir, errStray)
		}
	}
	return nil
}

var errStray = errors.New("holds files and belongs to no topic")

// notCleared is what a client is told of an error of clearName: where the directory is says
// the log.
func notCleared(err error) error {
	if errors.Is(err, errStray) {
		return fmt.Errorf("%w: a directory of this name %w; the broker's log says which, and what to do", kerr.KafkaStorageError, errStray)
	}
	return kerr.KafkaStorageError
}

// maxStrays bounds how many directories are named at a start.
const maxStrays = 20

// tellStrays warns of directories that no topic has, as after the database was restored
// from an older copy. They are left as they are.
func (s *topicSet) tellStrays(rows []meta.Topic) error {
	names, err := s.b.gate.List(s.b.dir.Join(logsDir))
	if err != nil {
		return fmt.Errorf("logbroker: %w", err)
	}
	deleted, err := s.b.meta.DeletedTopics() // which could not be removed
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, row := range slices.Concat(rows, deleted) {
		for i := range row.Partitions {
			known[row.Name+"-"+strconv.Itoa(int(i))] = true
		}
	}
	told := 0
	for _, name := range names {
		if known[name] {
			continue
		}
		dir := s.b.dir.Join(logsDir, name)
		if files, err := s.b.gate.List(dir); err != nil || len(files) == 0 {
			continue // a file, or one whose topic was just being made
		}
		if told++; told > maxStrays {
			s.b.log.Warn("there are more such directories", "in", s.b.dir.Join(logsDir))
			break
		}
		s.b.log.Warn("directory "+errStray.Error()+", and stays as it is: if its topic is missing restore the database from the same copy as the logs, otherwise move it away", "dir", dir)
	}
	return nil
}

// isNoDamage tells whether a partition cannot be opened for a reason that says nothing of
// its files, as a full disk or too many open ones.
func isNoDamage(err error) bool {
	damage := (*commitlog.DamageError)(nil)
	return !errors.As(err, &damage)
}

// holdsNothing tells whether the directory of a partition can be read, and holds no segment.
func (s *topicSet) holdsNothing(p *partition) bool {
	files, err := s.b.gate.List(s.dir(p.topic.name, p.index))
	return err == nil && !slices.ContainsFunc(files, commitlog.IsSegment)
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
