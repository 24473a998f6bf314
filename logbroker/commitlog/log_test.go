package commitlog

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

func TestAppendReadReopen(t *testing.T) {
	for _, how := range []string{"cleanly", "killed", "suspect disk", "on disk"} {
		t.Run(how, func(t *testing.T) {
			fs := vfs.NewMem()
			cfg := testConfig(fs)
			if how == "on disk" {
				cfg.FS, cfg.Dir = vfs.Default, t.TempDir()
			}
			l := mustOpen(t, cfg)
			var want []offsetValue
			for i := range 200 {
				v := fmt.Sprintf("value %d", i)
				res := mustAppend(t, l, source{}, v, v+" more")
				want = append(want, offsetValue{res.BaseOffset, v}, offsetValue{res.LastOffset, v + " more"})
			}
			check := func(l *Log) {
				t.Helper()
				for _, maxBytes := range []int{0, 100, 500, 1 << 20} {
					got := readValues(t, l, 0, l.End(), maxBytes)
					if d := cmp.Diff(want, got, cmp.AllowUnexported(offsetValue{})); d != "" {
						t.Fatalf("maxBytes %d: %s", maxBytes, d)
					}
				}
				for from := range l.End() {
					got := readValues(t, l, from, from+1-from%2+1, 64)
					if len(got) == 0 {
						t.Fatalf("nothing at %d", from)
					}
				}
			}
			check(l)
			if n := len(*l.segments.Load()); n < 5 {
				t.Fatalf("%d segments, want more", n)
			}
			switch how {
			case "cleanly":
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				cfg.Cleanly = true
			case "suspect disk":
				cfg.SuspectDisk = true
			}
			l = mustOpen(t, cfg)
			if l.SyncedEnd() != 400 || l.End() != 400 {
				t.Fatalf("end %d, synced %d, want 400", l.End(), l.SyncedEnd())
			}
			check(l)
		})
	}
}

// Reading a log of many segments keeps few of them open.
func TestFewSegmentsAreAwake(t *testing.T) {
	l := mustOpen(t, testConfig(vfs.NewMem()))
	for i := range 300 {
		mustAppend(t, l, source{}, fmt.Sprint("value ", i))
	}
	for offset := l.End() - 1; offset >= 0; offset -= 3 {
		readValues(t, l, offset, offset+1, 1)
	}
	files, indexes := 0, 0
	for _, s := range *l.segments.Load() {
		if s.file != nil {
			files++
		}
		if s.index != nil {
			indexes++
		}
	}
	if n := len(*l.segments.Load()); n < 10 || files > maxAwake+1 || indexes > maxAwake+1 {
		t.Errorf("%d segments, %d files open, %d indexes in memory; want at most %d", n, files, indexes, maxAwake+1)
	}
}

// A power loss may bring back some of the segments that DeleteTo removed.
func TestDeletedSegmentsComeBack(t *testing.T) {
	fs := vfs.NewMem()
	l := mustOpen(t, testConfig(fs))
	for i := range 100 {
		mustAppend(t, l, source{}, fmt.Sprint("value ", i))
	}
	segs := *l.segments.Load()
	files := readImage(t, fs)
	cfg := testConfig(files.with(logName(segs[1].base), nil).write(t))
	cfg.LogStart = segs[2].base + 1
	l = mustOpen(t, cfg)
	if l.Start() != cfg.LogStart || (*l.segments.Load())[0].base != segs[2].base {
		t.Errorf("start %d, first segment %d", l.Start(), (*l.segments.Load())[0].base)
	}
	if _, ok := readImage(t, cfg.FS)[logName(0)]; ok {
		t.Error("a segment below the start is still there")
	}
	readValues(t, l, l.Start(), l.End(), 500)
}
