package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestRunTellsItsTotalsOnce: a run to the end says once what it came to, and
// nothing of a failure, on a broker in its process and on a server.
func TestRunTellsItsTotalsOnce(t *testing.T) {
	dir := t.TempDir()
	input, pipeline := filepath.Join(dir, "in.jsonl"), filepath.Join(dir, "p.yaml")
	writeFile(t, input, `{"id": 1}`+"\n")
	writeFile(t, pipeline, strings.ReplaceAll(goodPipeline, "INPUT", input))
	s := startServer(t, filepath.Join(dir, "server"), "127.0.0.1:0")
	for name, args := range map[string][]string{
		"embedded":    nil,
		"on a server": {"-b", s.address},
	} {
		t.Run(name, func(t *testing.T) {
			out := levada(t, "", append([]string{"run", pipeline, "-o", "table", "--until-end", "--data", filepath.Join(t.TempDir(), "data")}, args...)...)
			said := out.stdout + out.stderr
			if out.code != exitDone || strings.Count(said, "records in") != 1 || !strings.Contains(out.stdout, "1 records in") || strings.Contains(said, "failed") {
				t.Errorf("exit %d, stdout:\n%s\nstderr:\n%s", out.code, out.stdout, out.stderr)
			}
		})
	}
}
