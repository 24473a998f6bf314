package commitlog

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// TestSealsReadNothingAgain: the seal of a segment that was begun since the start is
// written without reading it, and is right: also where an append failed, where a marker
// was appended, and for a segment that an earlier run began, which is read.
func TestSealsReadNothingAgain(t *testing.T) {
	fs := vfs.NewMem()
	reads, fail := map[string]int{}, 0
	cfg := testConfig(errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, logSuffix):
			reads[op.Path]++
		case op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, logSuffix) && fail > 0:
			fail--
			return errDied
		}
		return nil
	})))
	cfg.SegmentBytes = 1000
	l := mustOpen(t, cfg)
	sequence := int32(0)
	fill := func(segments int) {
		for begun := len(*l.segments.Load()); len(*l.segments.Load()) < begun+segments; sequence++ {
			mustAppend(t, l, source{}, strings.Repeat("x", 50+int(sequence)))
			mustAppend(t, l, source{id: 7, sequence: sequence, transactional: true}, "of a transaction")
			fail = 1
			if _, err := l.Append(makeBatch(source{}, 1, strings.Repeat("lost", 9)), nil); err == nil && fail == 0 {
				t.Fatal("an append that failed was taken")
			}
			if _, _, err := l.AppendMarker(Marker{ProducerID: 7, Epoch: 0, Commit: true, CoordinatorEpoch: 0}); err != nil {
				t.Fatal(err)
			}
		}
	}
	seal := func() {
		clear(reads)
		for more := true; more; {
			var err error
			if more, err = l.Seal(); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(5)
	seal()
	if len(reads) > 0 {
		t.Errorf("were read: %v", reads)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	fill(3)
	seal()
	if len(reads) != 1 {
		t.Errorf("were read, and one was begun before: %v", reads)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if sum, faults := inspect(t, fs); len(faults) > 0 || sum.Sealed < 7 {
		t.Errorf("%d are sealed, and of them: %v", sum.Sealed, faults)
	}
}

// TestSealOfWhatWasReplaced: a planted fault that puts a batch in the place of another is
// one of offsets, and not of the file: the seal is that of what is there.
func TestSealOfWhatWasReplaced(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	mustAppend(t, l, source{}, "first")
	mustAppend(t, l, source{}, "second")
	instead := makeBatch(source{}, 1, "SECOND")
	l.goBack(instead)
	if _, err := l.Append(instead, nil); err != nil || l.End() != 2 {
		t.Fatalf("%v, the end is %d", err, l.End())
	}
	for len(*l.segments.Load()) < 2 {
		mustAppend(t, l, source{}, strings.Repeat("x", 100))
	}
	if more, err := l.Seal(); !more || err != nil {
		t.Fatal(more, err)
	}
	if sum, faults := inspect(t, fs); len(faults) > 0 || sum.Sealed != 1 {
		t.Errorf("%d are sealed, and of them: %v", sum.Sealed, faults)
	}
}
