package workload

import (
	"context"
	"io/fs"
	"log/slog"
	"path/filepath"
	"testing"
	"time"
)

// TestDiskBytes compares the estimate with what a run leaves: it must not be
// too low, or the run fills the disk, and not far above it.
func TestDiskBytes(t *testing.T) {
	for _, test := range []struct {
		workload string
		onCommit bool
	}{{PassThrough, false}, {Count, false}, {Count, true}, {WordCount, false}, {WordCount, true}} {
		c := Config{
			Input:      Input{Workload: test.workload, Records: 300_000, Keys: 10, Seed: 3},
			Partitions: 2, Workers: 1, CommitInterval: 100 * time.Millisecond, EmitOnCommit: test.onCommit,
			Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
		}
		if err := Preload(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := Run(context.Background(), c, time.Now()); err != nil {
			t.Fatal(err)
		}
		var used int64
		err := filepath.WalkDir(filepath.Join(c.Dir, LogDir), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				used += info.Size()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := c.DiskBytes(); used > want || used < want/8 {
			t.Errorf("%s, on commit %v: %d bytes on the disk, estimated %d", test.workload, test.onCommit, used, want)
		}
	}
}
