package meta

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// FuzzRow gives any bytes to every decoder of a row, and to what reads the rows of
// a database: nothing panics, and what can be decoded encodes to what decodes the
// same.
func FuzzRow(f *testing.F) {
	s := openMem(f, vfs.NewMem())
	commit(f, s, fillExamples)
	it, err := s.db.NewIter(nil)
	if err != nil {
		f.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		f.Add(bytes.Clone(it.Key()), bytes.Clone(it.Value()))
	}
	if err := it.Close(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if len(key) == 0 {
			return
		}
		c := Contents{System: map[string][]byte{}, LogStarts: map[Partition]int64{}}
		_ = c.row(key, value)
		roundTrips(t, value)
		if err := s.db.Set(key, value, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		_ = s.loadPending()
		_, _ = s.Topics()
		_, _ = s.DeletedTopics()
		_, _ = s.LogStarts()
		_, _ = s.Txns()
		_, _ = s.Decisions()
		_, _ = s.PendingOffsets()
		_, _ = s.OffsetGroups()
		_, _ = s.Offsets("g")
		_ = s.Groups(func(string, []byte) error { return nil })
		if err := s.db.Delete(key, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
	})
}

// roundTrips decodes a value as each kind of row.
func roundTrips(t *testing.T, value []byte) {
	t.Helper()
	same := func(kind string, first, again []byte, err error) {
		t.Helper()
		if err != nil || !bytes.Equal(first, again) {
			t.Fatalf("%s: %x became %x, %v", kind, first, again, err)
		}
	}
	if row, err := decodeTopic("t", value); err == nil {
		if row.Partitions < 0 {
			t.Fatalf("a topic of %d partitions", row.Partitions)
		}
		again, err := decodeTopic("t", row.encode())
		same("topic", row.encode(), again.encode(), err)
	}
	if row, err := decodeTxn("id", value); err == nil {
		again, err := decodeTxn("id", row.encode())
		same("transactional id", row.encode(), again.encode(), err)
	}
	if row, err := decodeDecision(Decision{}, value); err == nil {
		again, err := decodeDecision(Decision{}, row.encode())
		same("decision", row.encode(), again.encode(), err)
	}
	if row, err := decodeOffset("t", 1, value); err == nil {
		again, err := decodeOffset("t", 1, row.encode())
		same("offset", row.encode(), again.encode(), err)
	}
}
