package main

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime/launch"
)

// programCounts runs the Go program and reads its result.
func programCounts(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	if err := run(context.Background(), "", dir, "testdata/opticks.txt", 0); err != nil {
		t.Fatal(err)
	}
	return tableOf(t, launch.LogConfig{Dir: filepath.Join(dir, "log")})
}

// tableOf reads the counts in a log.
func tableOf(t *testing.T, cfg launch.LogConfig) map[string]int64 {
	t.Helper()
	log, err := launch.OpenLog(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	table, err := launch.ReadTable(context.Background(), log, Counts.Name())
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for word, value := range table {
		if counts[word], err = (serde.Int64{}).Decode(value); err != nil {
			t.Fatal(err)
		}
	}
	return counts
}

// TestProgramAndPipelineAgree runs the Go program and the pipeline, each twice,
// and compares what they count with each other and with a plain loop.
func TestProgramAndPipelineAgree(t *testing.T) {
	dir := t.TempDir()
	binary := build(t, "github.com/levada/levada/cmd/levada")
	pipeline := func() map[string]int64 {
		t.Helper()
		cmd := exec.Command(binary, "run", "examples/wordcount/pipeline.yaml", "--data", filepath.Join(dir, "pipeline"), "--until-end", "--top", "1000000", "-o", "json")
		cmd.Dir = "../.." // paths in the file are from the root of the repository
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("levada run: %v\n%s", err, stderr.String())
		}
		var result struct {
			Top []struct {
				Key   string
				Value float64
			}
		}
		if err := json.Unmarshal(out, &result); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		counts := map[string]int64{}
		for _, r := range result.Top {
			counts[r.Key] = int64(r.Value)
		}
		return counts
	}
	want := plainCounts(t, "testdata/opticks.txt")
	for round := range 2 {
		if diff := cmp.Diff(want, programCounts(t, filepath.Join(dir, "program"))); diff != "" {
			t.Fatalf("the program, run %d (-want +got):\n%s", round+1, diff)
		}
		if diff := cmp.Diff(want, pipeline()); diff != "" {
			t.Fatalf("the pipeline, run %d (-want +got):\n%s", round+1, diff)
		}
	}
}
