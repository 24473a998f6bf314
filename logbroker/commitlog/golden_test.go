package commitlog

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestFormat pins every byte of every file: what an older program wrote must
// stay readable.
func TestFormat(t *testing.T) {
	fs := vfs.NewMem()
	cfg := testConfig(fs)
	cfg.SegmentBytes, cfg.IndexIntervalBytes, cfg.LeaderEpoch = 220, 80, 3
	l := mustOpen(t, cfg)
	mustAppend(t, l, source{id: 0x1234, epoch: 1, transactional: true}, "a", "b")
	mustAppend(t, l, source{}, "c")
	mustAppend(t, l, source{}, "d")
	if _, _, err := l.AppendMarker(Marker{ProducerID: 0x1234, Epoch: 2, CoordinatorEpoch: 8}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, source{id: 0x1234, epoch: 2, transactional: true}, "e")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	files := readImage(t, fs)
	datadriven.RunTest(t, "testdata/format", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "list":
			var b strings.Builder
			for _, name := range sortedNames(files) {
				fmt.Fprintf(&b, "%s %d\n", name, len(files[name]))
			}
			return b.String()
		case "text":
			return string(files[d.CmdArgs[0].Key])
		case "hex":
			return hex.Dump(files[d.CmdArgs[0].Key])
		}
		t.Fatalf("unknown command %q", d.Cmd)
		return ""
	})
}

func sortedNames(m image) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
