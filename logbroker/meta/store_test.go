package meta

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

func openMem(t testing.TB, fs vfs.FS) *Store {
	t.Helper()
	s, err := Open(Config{FS: fs, Dir: "meta", Logger: slog.New(slog.DiscardHandler), OnFatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func commit(t testing.TB, s *Store, fill func(*Batch)) {
	t.Helper()
	b := s.NewBatch()
	fill(b)
	if err := s.Commit(b, true); err != nil {
		t.Fatal(err)
	}
}

var (
	id        = TopicID{1, 2, 3, 15: 16}
	exampleOf = struct {
		topic    Topic
		txn      Txn
		decision Decision
		offset   Offset
	}{
		Topic{Name: "orders", ID: id, Partitions: 3, Made: 2, Configs: map[string]string{"retention.ms": "-1", "cleanup.policy": "compact"}},
		Txn{
			ID: "app-1", ProducerID: 7, Epoch: 3, LastProducerID: -1, LastEpoch: -1, State: TxnOngoing, TimeoutMs: 60_000, UpdatedMs: 1_700_000_000_000,
			StartedMs: 1_700_000_000_000, Partitions: []Partition{{id, 2}}, Groups: []string{"g"},
		},
		Decision{ProducerID: 7, Epoch: 3, Counter: 9, Commit: true, MarkerEpoch: 4, Partitions: []DecisionPartition{{Partition{id, 2}, 100}}},
		Offset{Topic: "orders", Partition: 2, Offset: 42, LeaderEpoch: 5, Metadata: "m", CommittedMs: 1_700_000_000_000},
	}
)

// fillExamples writes one row of every kind.
func fillExamples(b *Batch) {
	b.PutSystem("boot", []byte("id"))
	b.PutTopic(exampleOf.topic)
	b.DeleteTopic(Topic{Name: "old", ID: TopicID{9}, Partitions: 1})
	b.PutLogStart(Partition{id, 2}, 17)
	b.PutTxn(exampleOf.txn)
	b.PutDecision(exampleOf.decision)
	b.PutGroup("g", []byte("{}"))
	b.PutOffset("g", exampleOf.offset)
	b.PutPending(7, "g", exampleOf.offset)
	b.PutSetting(Quotas, "user=ann", []byte("{}"))
}

// TestFormat shows the bytes of every kind of row: a change of them is a change
// of docs/format/meta.md, and of the directory's version.
func TestFormat(t *testing.T) {
	datadriven.RunTest(t, "testdata/format", func(t *testing.T, _ *datadriven.TestData) string {
		s := openMem(t, vfs.NewMem())
		defer s.Close()
		commit(t, s, fillExamples)
		var out strings.Builder
		it, err := s.db.NewIter(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			fmt.Fprintf(&out, "%c %s\n    %s\n", it.Key()[0], hex.EncodeToString(it.Key()[1:]), hex.EncodeToString(it.Value()))
		}
		return out.String()
	})
}

// TestRowsComeBack: what is written is read, also by the next process.
func TestRowsComeBack(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	commit(t, s, fillExamples)
	for _, where := range []string{"same process", "next process"} {
		topics, err := s.Topics()
		if err != nil || !reflect.DeepEqual(topics, []Topic{exampleOf.topic}) {
			t.Errorf("%s: topics %+v, %v", where, topics, err)
		}
		deleted, err := s.DeletedTopics()
		if err != nil || len(deleted) != 1 || deleted[0].Name != "old" {
			t.Errorf("%s: deleted topics %+v, %v", where, deleted, err)
		}
		starts, err := s.LogStarts()
		if err != nil || starts[Partition{id, 2}] != 17 {
			t.Errorf("%s: log starts %v, %v", where, starts, err)
		}
		txns, err := s.Txns()
		if err != nil || !reflect.DeepEqual(txns, []Txn{exampleOf.txn}) {
			t.Errorf("%s: transactional ids %+v, %v", where, txns, err)
		}
		decisions, err := s.Decisions()
		if err != nil || !reflect.DeepEqual(decisions, []Decision{exampleOf.decision}) {
			t.Errorf("%s: decisions %+v, %v", where, decisions, err)
		}
		if o, ok, err := s.Offset("g", "orders", 2); !ok || err != nil || o != exampleOf.offset {
			t.Errorf("%s: offset %+v, %v, %v", where, o, ok, err)
		}
		if !s.Unstable("g", "orders", 2) || s.Unstable("g", "orders", 1) || !s.HasPending("g") || s.HasPending("h") {
			t.Errorf("%s: the pending offset is not known", where)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openMem(t, fs)
	}
	commit(t, s, func(b *Batch) { b.DecideOffsets(7, false) })
	if s.HasPending("g") {
		t.Error("an aborted pending offset is still there")
	}
	commit(t, s, func(b *Batch) { b.DeleteGroup("g"); b.DeleteDecision(exampleOf.decision) })
	groups, err := s.OffsetGroups()
	decisions, derr := s.Decisions()
	if err != nil || derr != nil || len(groups)+len(decisions) > 0 {
		t.Errorf("after deleting: %v, %v, %v, %v", groups, decisions, err, derr)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedRows: any prefix of a row, a byte too many, and another version
// are errors that name the row.
func TestDamagedRows(t *testing.T) {
	topic, txn, decision, offset := exampleOf.topic, exampleOf.txn, exampleOf.decision, exampleOf.offset
	for name, c := range map[string]struct {
		key, row []byte
		read     func(*Store) error
	}{
		"topic":    {nameKey(kindTopic, "orders"), topic.encode(), func(s *Store) error { _, err := s.Topics(); return err }},
		"txn":      {nameKey(kindTxn, "app-1"), txn.encode(), func(s *Store) error { _, err := s.Txns(); return err }},
		"decision": {decisionKey(7, 3, 9), decision.encode(), func(s *Store) error { _, err := s.Decisions(); return err }},
		"offset":   {offsetKey("g", "orders", 2), offset.encode(), func(s *Store) error { _, err := s.Offsets("g"); return err }},
	} {
		s := openMem(t, vfs.NewMem())
		damaged := [][]byte{append(append([]byte{}, c.row...), 0), append([]byte{rowVersion + 1}, c.row[1:]...)}
		for n := range c.row {
			damaged = append(damaged, c.row[:n])
		}
		for _, row := range damaged {
			if err := s.db.Set(c.key, row, pebble.NoSync); err != nil {
				t.Fatal(err)
			}
			if err := c.read(s); err == nil || !strings.Contains(err.Error(), "meta: row ") {
				t.Errorf("%s of %d bytes, of %d: %v", name, len(row), len(c.row), err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeysKeepGroupsApart: no group's name makes its offsets another's.
func TestKeysKeepGroupsApart(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom([]rune{0, 'a', 'b', 0x10ffff}), 0, 4, -1)
		a, b := name.Draw(rt, "a"), name.Draw(rt, "b")
		topic, partition := name.Draw(rt, "topic"), rapid.Int32Min(0).Draw(rt, "partition")
		key := offsetKey(a, topic, partition)
		if strings.HasPrefix(string(key), string(offsetPrefix(b))) != (a == b) {
			rt.Fatalf("the key of group %q is under group %q", a, b)
		}
		g, tp, p, err := splitOffsetKey(key[1:])
		if err != nil || g != a || tp != topic || p != partition {
			rt.Fatalf("%q, %q, %d, %v", g, tp, p, err)
		}
	})
}

// TestCheck: every row of a whole database can be read, one that is damaged is named.
func TestCheck(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	commit(t, s, fillExamples)
	if _, err := Check(fs, "meta"); !errors.Is(err, ErrInUse) {
		t.Errorf("a database that is in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lock := fs.PathJoin("meta", "LOCK")
	if err := fs.Remove(lock); err != nil {
		t.Fatal(err)
	}
	c, err := Check(fs, "meta")
	if err != nil || c.Rows < 8 || len(c.Topics) == 0 || len(c.LogStarts) == 0 || len(c.System) == 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := fs.Stat(lock); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a look at a database without a lock file leaves one: %v", err)
	}
	s = openMem(t, fs)
	commit(t, s, func(b *Batch) { b.set([]byte("tbroken"), []byte{9}) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Check(fs, "meta"); err == nil || !strings.Contains(err.Error(), "tbroken") {
		t.Errorf("a damaged row: %v", err)
	}
}
