package main

import (
	"os/exec"
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

// TestHintsNameTheProgramAsItWasCalled: who called bin/levada is told of
// bin/levada, everywhere.
func TestHintsNameTheProgramAsItWasCalled(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "in.jsonl"), `{"id": 1}`+"\n")
	writeFile(t, filepath.Join(dir, "p.yaml"), strings.ReplaceAll(goodPipeline, "INPUT", "in.jsonl"))
	s := startServer(t, filepath.Join(dir, "server"), "127.0.0.1:0")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"run", "p.yaml", "--until-end", "-o", "table"}, []string{"  bin/levada run p.yaml", "  bin/levada check p.yaml", "  bin/levada server --data data/log     (then: bin/levada topic list)"}},
		{[]string{"run", "p.yaml", "--until-end", "-o", "table", "-b", s.address}, []string{"  bin/levada run p.yaml", "  bin/levada topic list -b " + s.address}},
		{[]string{"run"}, []string{"(usage: bin/levada run FILE"}},
		{[]string{"run", "--nonsense"}, []string{"(see: bin/levada run --help)"}},
		{[]string{"topic", "nonsense"}, []string{`levada topic has no command "nonsense" (see: bin/levada topic --help)`}},
		{[]string{"topic", "describe", "none", "-b", s.address}, []string{"(see: bin/levada topic list)"}},
		{[]string{"topic", "list", "-b", "127.0.0.1:1", "--timeout", "1s"}, []string{"start one with: bin/levada server --data DIR"}},
	} {
		cmd := exec.Command("bin/levada", c.args...)
		cmd.Path, cmd.Dir = binary, dir
		out, err := cmd.CombinedOutput()
		for _, want := range c.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%v: no %q: %v\n%s", c.args, want, err, out)
			}
		}
	}
}
