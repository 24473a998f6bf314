package logbroker

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/levada/levada/internal/datadir"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/meta"
	"github.com/levada/levada/logbroker/txn"
)

const maxTopicName = 249

// topic is one topic. Its partitions only grow in number.
type topic struct {
	name       string
	id         meta.TopicID
	partitions atomic.Pointer[[]*partition]      // replaced, never changed
	configs    atomic.Pointer[map[string]string] // replaced, never changed
	policy     atomic.Pointer[policy]            // what they say
}

// parts are the partitions of the topic, by number.
func (t *topic) parts() []*partition { return *t.partitions.Load() }

// topicSet are all topics. Readers take the maps without a lock.
type topicSet struct {
	b     *Broker
	cache *commitlog.PageCache
	now   atomic.Pointer[topicMaps]
	edit  sync.Mutex // held by whoever creates, deletes or configures a topic
	// offsets is held for reading by whoever writes offsets, from the look whether
	// their topics are there until they are written; for writing by whoever deletes
	// a topic or a group, from the look for its offsets until nobody finds it. So none
	// is written under a name that is free. It is taken before groups.mu and before a
	// gate of transactions.
	offsets sync.RWMutex
}

type topicMaps struct {
	byName map[string]*topic
	byID   map[meta.TopicID]*topic
	// unified has a name for each unifiedName that a topic has, if it is not its own.
	unified map[string]string
	count   int // partitions of all topics
	// version is another one with every change, and never 0.
	version uint64
	created uint64 // is another one with every topic that comes
}

func (s *topicSet) init(b *Broker) {
	s.b = b
	if limit := b.cfg.Limits.CacheBytes; limit >= 0 {
		s.cache = commitlog.NewPageCache(limit)
	}
	s.now.Store(&topicMaps{byName: map[string]*topic{}, byID: map[meta.TopicID]*topic{}, unified: map[string]string{}, version: 1})
}

func (s *topicSet) byName(name string) *topic { return s.now.Load().byName[name] }

// has tells whether a topic is there still.
func (s *topicSet) has(t *topic) bool { return s.byName(t.name) == t }

func (s *topicSet) byID(id meta.TopicID) *topic { return s.now.Load().byID[id] }

// sorted lists all topics by name.
func (s *topicSet) sorted() []*topic {
	maps := s.now.Load()
	out := make([]*topic, 0, len(maps.byName))
	for _, t := range maps.byName {
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out
}

// each calls fn for every partition, in the order of names and numbers.
func (s *topicSet) each(fn func(*partition)) {
	for _, t := range s.sorted() {
		for _, p := range t.parts() {
			fn(p)
		}
	}
}

// partition finds an open partition, or says with Kafka's error why not.
func (s *topicSet) partition(t *topic, index int32) (*partition, error) {
	if t == nil {
		return nil, kerr.UnknownTopicOrPartition
	}
	parts := t.parts()
	if index < 0 || int(index) >= len(parts) {
		return nil, kerr.UnknownTopicOrPartition
	}
	p := parts[index]
	if p.damage != nil {
		return nil, kerr.KafkaStorageError
	}
	return p, nil
}

// offline counts the partitions that could not be opened.
func (s *topicSet) offline() (n int) {
	s.each(func(p *partition) {
		if p.damage != nil {
			n++
		}
	})
	return n
}

func (s *topicSet) byMetaID(id meta.Partition) *partition {
	p, err := s.partition(s.byID(id.Topic), id.Index)
	if err != nil {
		return nil
	}
	return p
}

func (m *topicMaps) put(t *topic) {
	m.byName[t.name], m.byID[t.id] = t, t
	if name, mixed := unifiedName(t.name); mixed {
		m.unified[name] = t.name
	}
	m.count += len(t.parts())
}

// publish replaces the maps by such with topics more. They are cloned, which takes
// much less time than putting every topic into new ones: many topics are made one
// after another. edit is held, or nobody else knows the set yet.
func (s *topicSet) publish(add ...*topic) {
	old := s.now.Load()
	next := &topicMaps{byName: maps.Clone(old.byName), byID: maps.Clone(old.byID), unified: maps.Clone(old.unified), count: old.count, version: old.version + 1, created: old.created + 1}
	for _, t := range add {
		next.put(t)
	}
	s.now.Store(next)
}

// republish replaces the maps by such without a topic that is gone, and with what
// has changed of the others. edit is held.
func (s *topicSet) republish(gone *topic) {
	old := s.now.Load()
	next := &topicMaps{byName: map[string]*topic{}, byID: map[meta.TopicID]*topic{}, unified: map[string]string{}, version: old.version + 1, created: old.created}
	for _, t := range old.byName {
		if t != gone {
			next.put(t)
		}
	}
	s.now.Store(next)
}

// open finishes deletions that a crash interrupted and opens all logs.
func (s *topicSet) open(st start) error {
	rows, err := s.b.meta.Topics()
	if err != nil {
		return err
	}
	err = s.removeDeleted(func(name string) bool {
		return slices.ContainsFunc(rows, func(row meta.Topic) bool { return row.Name == name })
	})
	if err != nil {
		return err
	}
	if err := s.tellStrays(rows); err != nil {
		return err
	}
	starts, err := s.b.meta.LogStarts()
	if err != nil {
		return err
	}
	all := make([]*topic, 0, len(rows))
	for _, row := range rows {
		if err := s.makeDirs(row); err != nil {
			return err
		}
		t := s.openTopic(row, starts, st)
		if err := s.noteMade(t, row); err != nil {
			return err
		}
		all = append(all, t)
	}
	s.publish(all...)
	return nil
}

// openTopic opens the logs of a topic whose directories exist. One that cannot
// be opened is reported and left as it is: its partition answers with a
// storage error, the others work.
func (s *topicSet) openTopic(row meta.Topic, starts map[meta.Partition]int64, st start) *topic {
	t := &topic{name: row.Name, id: row.ID}
	parts := make([]*partition, row.Partitions)
	s.b.parallel(len(parts), func(i int) { parts[i] = s.openPartition(t, row, int32(i), starts, st) })
	t.partitions.Store(&parts)
	t.setConfigs(s.b, row.Configs)
	return t
}

func (s *topicSet) openPartition(t *topic, row meta.Topic, i int32, starts map[meta.Partition]int64, st start) *partition {
	p := &partition{broker: s.b, topic: t, index: i}
	p.unsynced.Store(p.turn())
	dir := s.dir(row.Name, i)
	if _, err := s.b.gate.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		p.damage = fmt.Errorf("directory %s %w: restore it, or delete the topic: %w", dir, errNoDirectory, err)
	} else if err != nil {
		p.damage = err
	} else {
		p.log, p.damage = commitlog.Open(s.logConfig(row, i, starts, st))
	}
	if p.damage != nil {
		p.unmade = i >= row.Made && isNoDamage(p.damage)
		s.b.log.Error(whyOffline(p.damage), "topic", row.Name, "partition", i, "error", p.damage)
		p.log = nil
	}
	return p
}

var errNoDirectory = errors.New("is missing")

// whyOffline says what keeps a partition from being opened, and what to do: only some of
// that is damage, and who restores files from a copy because there were too many open loses
// what was written since.
func whyOffline(err error) string {
	const later = ", then restart the broker; nothing says that what is stored is damaged"
	switch {
	case errors.Is(err, commitlog.ErrCorrupt), errors.Is(err, recordbatch.ErrCorrupt):
		return "partition is damaged and stays offline"
	case errors.Is(err, errNoDirectory):
		return "partition has no directory and stays offline"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "partition stays offline, for too many files are open: raise the limit of open files (ulimit -n, or LimitNOFILE of systemd)" + later
	case errors.Is(err, fs.ErrPermission):
		return "partition stays offline, for its files may not be opened: give them to the user that the broker runs as" + later
	case errors.Is(err, syscall.ENOSPC):
		return "partition stays offline, for the disk is full: make room" + later
	case errors.Is(err, syscall.EIO):
		return "partition stays offline, for the disk does not give its files: look at the disk and the log of the kernel, copy what can be read if it fails" + later
	}
	return "partition cannot be opened and stays offline: mend what the error says" + later
}

func (s *topicSet) logConfig(row meta.Topic, i int32, starts map[meta.Partition]int64, st start) commitlog.Config {
	cfg := commitlog.Config{
		FS:                 s.b.gate,
		Dir:                s.dir(row.Name, i),
		SegmentBytes:       s.b.cfg.SegmentBytes,
		IndexIntervalBytes: s.b.cfg.IndexIntervalBytes,
		LogStart:           starts[meta.Partition{Topic: row.ID, Index: i}],
		LeaderEpoch:        s.b.epoch,
		Now:                s.b.cfg.Now,
		Logger:             s.b.log.With("topic", row.Name, "partition", i),
		Cache:              s.cache,
		MayReserve:         s.b.space.mayReserve,
		Suspect:            st.unclean,
		SuspectDisk:        st.suspectDisk,
		Cleanly:            !st.unclean,
		Existing:           i < row.Made,
		Planted:            s.b.cfg.planted,
	}
	return cfg
}

func (s *topicSet) dir(name string, index int32) string {
	return s.b.dir.Join(logsDir, name+"-"+strconv.Itoa(int(index)))
}

// makeDirs makes the directories of the partitions that have none durable.
func (s *topicSet) makeDirs(row meta.Topic) error {
	if row.Made == row.Partitions {
		return nil
	}
	for i := row.Made; i < row.Partitions; i++ {
		if err := s.b.gate.MkdirAll(s.dir(row.Name, i), 0o700); err != nil {
			return fmt.Errorf("topic %s: %w", row.Name, err)
		}
	}
	return datadir.SyncDir(s.b.gate, s.b.dir.Join(logsDir))
}

// noteMade makes it durable which partitions of a topic have a first segment, if they are
// more than the row says: from then on one without any was emptied by somebody.
func (s *topicSet) noteMade(t *topic, row meta.Topic) error {
	made := t.made()
	if made == row.Made {
		return nil
	}
	row.Made = made
	batch := s.b.meta.NewBatch()
	batch.PutTopic(row)
	return s.b.commit(batch)
}

// made is how many partitions, the first ones, have had a first segment.
func (t *topic) made() int32 {
	parts := t.parts()
	if i := slices.IndexFunc(parts, func(p *partition) bool { return p.unmade }); i >= 0 {
		return int32(i)
	}
	return int32(len(parts))
}

// create makes a topic. Its row is written first, so that a crash leaves no
// directory that nobody knows. made are the topics that the same request made.
func (s *topicSet) create(name string, partitions int32, configs map[string]string, validateOnly bool, made ...string) (meta.Topic, error) {
	if err := checkTopicName(name); err != nil {
		return meta.Topic{}, err
	}
	s.edit.Lock()
	defer s.edit.Unlock()
	collision := s.checkCollision(name, made)
	switch {
	case s.byName(name) != nil:
		return meta.Topic{}, fmt.Errorf("%w: it exists already", kerr.TopicAlreadyExists)
	case collision != nil:
		return meta.Topic{}, collision
	case partitions < 1:
		return meta.Topic{}, fmt.Errorf("%w: %d partitions, at least 1 is needed", kerr.InvalidPartitions, partitions)
	case s.now.Load().count+int(partitions) > s.b.cfg.Limits.Partitions:
		return meta.Topic{}, fmt.Errorf("%w: %d partitions more, and this broker has at most %d", kerr.PolicyViolation, partitions, s.b.cfg.Limits.Partitions)
	}
	id, err := s.b.newTopicID()
	if err != nil {
		return meta.Topic{}, err
	}
	row := meta.Topic{Name: name, ID: id, Partitions: partitions, Configs: configs}
	if validateOnly {
		return row, nil
	}
	if err := s.clearName(name, 0, partitions); err != nil {
		s.b.log.Error("topic was not created", "topic", name, "error", err)
		return row, notCleared(err)
	}
	batch := s.b.meta.NewBatch()
	batch.PutTopic(row)
	if err := s.b.space.forMetadata(); err != nil {
		return row, err
	}
	if err := s.b.commit(batch); err != nil {
		return row, kerr.KafkaStorageError
	}
	if err := s.makeDirs(row); err != nil {
		s.b.log.Error("topic was not created", "topic", name, "error", err)
		return row, kerr.KafkaStorageError
	}
	t := s.openTopic(row, nil, start{})
	s.publish(t)
	if err := s.noteMade(t, row); err != nil {
		return row, kerr.KafkaStorageError
	}
	return row, nil
}

// maxNewPartitions is how many partitions can be made at once: more do not fit into one
// batch of Kafka's controller.
const maxNewPartitions = 10_000

// grow adds partitions to a topic, so that it has count of them. Its row says
// that directories are to be made until they are, as for a new topic.
func (s *topicSet) grow(name string, count int32, validateOnly bool) error {
	s.edit.Lock()
	defer s.edit.Unlock()
	t := s.byName(name)
	if t == nil {
		return kerr.UnknownTopicOrPartition
	}
	have := int32(len(t.parts()))
	switch more := int(count) - int(have); {
	case more == 0:
		return fmt.Errorf("%w: the topic has %d partitions already", kerr.InvalidPartitions, have)
	case more < 0:
		return fmt.Errorf("%w: the topic has %d partitions, and their number cannot fall to %d", kerr.InvalidPartitions, have, count)
	case more > maxNewPartitions:
		return fmt.Errorf("%w: %d partitions more, at once at most %d can be", kerr.UnknownServerError, more, maxNewPartitions)
	case s.now.Load().count+more > s.b.cfg.Limits.Partitions:
		return fmt.Errorf("%w: %d partitions more, and this broker has at most %d", kerr.PolicyViolation, more, s.b.cfg.Limits.Partitions)
	case validateOnly:
		return nil
	}
	if err := s.clearName(name, have, count); err != nil {
		s.b.log.Error("partitions were not added", "topic", name, "error", err)
		return notCleared(err)
	}
	row := meta.Topic{Name: t.name, ID: t.id, Partitions: count, Made: t.made(), Configs: *t.configs.Load()}
	batch := s.b.meta.NewBatch()
	batch.PutTopic(row)
	if err := s.b.commitNew(batch); err != nil {
		return err
	}
	if err := s.makeDirs(row); err != nil {
		s.b.log.Error("partitions were not added", "topic", name, "error", err)
		return kerr.KafkaStorageError
	}
	parts := slices.Clone(t.parts())
	for i := have; i < count; i++ {
		parts = append(parts, s.openPartition(t, row, i, nil, start{}))
	}
	t.partitions.Store(&parts)
	t.setConfigs(s.b, row.Configs)
	s.republish(nil) // there are more partitions
	if err := s.noteMade(t, row); err != nil {
		return kerr.KafkaStorageError
	}
	return nil
}

// delete removes a topic, its offsets and its directories. When its row is gone it
// is deleted: directories that resist are removed later.
func (s *topicSet) delete(t *topic) error {
	s.edit.Lock()
	defer s.edit.Unlock()
	if s.byName(t.name) != t {
		return kerr.UnknownTopicOrPartition
	}
	row := meta.Topic{Name: t.name, ID: t.id, Partitions: int32(len(t.parts()))}
	if err := s.deleteRow(t, row); err != nil {
		return kerr.KafkaStorageError
	}
	for _, p := range t.parts() {
		p.gone.Store(true)
		if p.log == nil {
			continue
		}
		if err := p.log.Discard(); err != nil {
			s.b.log.Warn("deleted log did not close", "topic", t.name, "partition", p.index, "error", err)
		}
	}
	// Nothing of it may be written into the directory of a topic that is made under
	// its name.
	for _, p := range t.parts() {
		p.awaitCleaning()
	}
	if err := s.removeDirs(row, false); err != nil {
		s.b.log.Warn("directories of a deleted topic are still there, which is tried again", "topic", t.name, "error", err)
	}
	for _, p := range t.parts() {
		p.notify()
	}
	return nil
}

// deleteRow deletes a topic durably with all that is said of it in the database.
// Then nobody finds it.
func (s *topicSet) deleteRow(t *topic, row meta.Topic) error {
	s.offsets.Lock()
	defer s.offsets.Unlock()
	batch := s.b.meta.NewBatch()
	batch.DeleteTopic(row)
	release := s.b.txns.keep(batch, func(open txn.State) bool {
		return open.Touches(t.id) || len(open.Groups) > 0 // its pending offsets may all be in this topic
	})
	err := s.b.commit(batch)
	if release(); err == nil {
		s.republish(t)
	}
	return err
}

var errTopicName = fmt.Errorf(`%w: a name has 1 to %d letters, digits, dots, underscores and hyphens, and is not "." or ".."`, kerr.InvalidTopicException, maxTopicName)

// checkTopicName keeps a name from leaving the data directory and to what
// Kafka allows.
func checkTopicName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > maxTopicName {
		return errTopicName
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return errTopicName
		}
	}
	return nil
}

// unifiedName is a name with an underscore for every dot; mixed tells that it has one
// of the two.
func unifiedName(name string) (unified string, mixed bool) {
	return strings.ReplaceAll(name, ".", "_"), strings.ContainsAny(name, "._")
}

// checkCollision refuses a new name that differs from another's in dots and
// underscores only, as Kafka does: metrics of topics have one for the other. Those that
// the same request made do not count.
func (s *topicSet) checkCollision(name string, made []string) error {
	unified, mixed := unifiedName(name)
	if other, ok := s.now.Load().unified[unified]; ok && mixed && !slices.Contains(made, other) {
		return fmt.Errorf("%w: topic %q collides with the existing topic %q", kerr.InvalidTopicException, name, other)
	}
	return nil
}

// encodeID is Kafka's text form of a topic id.
func encodeID(id meta.TopicID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }
