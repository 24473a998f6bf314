package commitlog

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// compactedLog is a log whose first segment was compacted, with gaps, and sealed.
func compactedLog(t *testing.T) *vfs.MemFS {
	t.Helper()
	cfg := testConfig(vfs.NewMem())
	l := mustOpen(t, cfg)
	for len(*l.segments.Load()) < 4 {
		putKeyed(t, l, "a", "v")
		putKeyed(t, l, "b", "v")
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if stats, err := l.Compact(NewCompactor(1<<16), Compaction{}); err != nil || stats.Records == 0 {
		t.Fatal(stats, err)
	}
	sealAll(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return cfg.FS.(*vfs.MemFS)
}

func sealAll(t *testing.T, l *Log) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = l.Seal(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInspectTellsOfWhatIsMadeAgain: a seal behind which something was written, a seal
// that is gone where the checkpoint or the seal of a later segment says that it was
// there, and a mark that is gone are told, and no records are called damaged. A start
// goes on with the log, whether the last run ended in order or not, and makes them again.
func TestInspectTellsOfWhatIsMadeAgain(t *testing.T) {
	for kind, fs := range map[string]*vfs.MemFS{"sealed": sealedLog(t), "compacted": compactedLog(t)} {
		files := readImage(t, fs)
		if _, faults := inspect(t, files.write(t)); len(faults) > 0 {
			t.Fatal(kind, faults)
		}
		end, changes := int64(0), map[string]image{markFile + " removed": files.with(markFile, nil)}
		var seals []string
		for name, data := range files {
			if strings.HasSuffix(name, sealSuffix) {
				seals = append(seals, name)
				changes[name+" longer"] = files.with(name, append(slices.Clone(data), "more"...))
				changes[name+" twice"] = files.with(name, append(slices.Clone(data), data...))
			}
		}
		slices.Sort(seals)
		if kind == "sealed" {
			seals = seals[:len(seals)-1] // nothing says that the last was there
		}
		for _, name := range seals {
			changes[name+" removed"] = files.with(name, nil)
		}
		if len(changes) < 5 {
			t.Fatalf("%s: %d changes", kind, len(changes))
		}
		for what, changed := range changes {
			name, _, _ := strings.Cut(what, " ")
			for _, cleanly := range []bool{false, true} {
				fs := changed.write(t)
				_, faults := inspect(t, fs)
				if len(faults) != 1 || !faults[0].Derived || !strings.HasSuffix(faults[0].Path, name) {
					t.Errorf("%s, %s: %v", kind, what, faults)
				}
				cfg := testConfig(fs)
				cfg.LeaderEpoch, cfg.Cleanly, cfg.Existing = 2, cleanly, true
				l := mustOpen(t, cfg)
				sealAll(t, l)
				if end = max(end, l.End()); l.End() != end || end == 0 {
					t.Errorf("%s, %s: the log ends at %d, want %d", kind, what, l.End(), end)
				}
				if err := errors.Join(l.Sync(), l.Close()); err != nil {
					t.Fatal(err)
				}
				if _, faults := inspect(t, fs); len(faults) > 0 {
					t.Errorf("%s, %s, after a start: %v", kind, what, faults)
				}
			}
		}
	}
}
