package commitlog

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

func TestAppendReadReopen(t *testing.T) {
	for _, how := range []string{"cleanly", "killed", "suspect disk"} {
		t.Run(how, func(t *testing.T) {
			fs := vfs.NewMem()
			cfg := testConfig(fs)
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
