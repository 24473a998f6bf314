package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const goodPipeline = `
version: 1
name: orders
sources:
  orders:
    connector: file
    config: { path: INPUT, format: jsonl, follow: false }
    topics: orders
    value: { format: json, fields: { id: int } }
flows:
  - name: copy
    from: { source: orders }
    steps:
      - filter: value.id > 0
    to: { topic: copies }
`

// TestBadPipelines: what can be wrong with a pipeline and its surroundings is
// said with the thing and the mend, and the right exit code.
func TestBadPipelines(t *testing.T) {
	dir := t.TempDir()
	input := filepath.Join(dir, "input.jsonl")
	writeFile(t, input, `{"id": 1}`+"\n")
	pipeline := func(name, from, to string) string {
		path := filepath.Join(dir, name+".yaml")
		text := strings.ReplaceAll(goodPipeline, "INPUT", input)
		if from != "" && !strings.Contains(text, from) {
			t.Fatalf("no %q in the pipeline", from)
		}
		writeFile(t, path, strings.Replace(text, from, to, 1))
		return path
	}
	good := pipeline("good", "", "")
	sink := "to: { sink: rows, table: orders }\nsinks: { rows: { connector: sqlite, config: { path: " + dir + ", mode: insert } } }"
	data := func(name string) string { return filepath.Join(dir, name) }
	mustLevada(t, "", "run", good, "--data", data("old-log"), "--until-end")
	mustLevada(t, "", "run", good, "--data", data("old-state"), "--until-end")
	writeFile(t, filepath.Join(data("old-log"), "log", "format"), "levada broker data, version 99\n")
	writeFile(t, filepath.Join(data("old-state"), "apps", "orders", "state", "format"), "levada state, version 99\n")
	held := startServer(t, filepath.Join(data("held"), "log"), "127.0.0.1:0")
	writeFile(t, data("file"), "")
	for name, c := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"no such file":      {[]string{"run", data("nothing.yaml")}, exitInput, []string{"nothing.yaml", "no such file"}},
		"a directory":       {[]string{"run", dir}, exitInput, []string{dir}},
		"malformed":         {[]string{"run", pipeline("malformed", "version: 1", "version: [1")}, exitInput, []string{"malformed.yaml:", "error["}},
		"check malformed":   {[]string{"check", pipeline("tab", "  orders:", "\torders:")}, exitInput, []string{"tab.yaml:", "error["}},
		"wrong field":       {[]string{"check", pipeline("field", "value.id", "value.ids")}, exitInput, []string{"field.yaml:", "ids", "id"}},
		"no connector":      {[]string{"run", pipeline("connector", "connector: file", "connector: fil")}, exitInput, []string{`no connector "fil"`, "file"}},
		"no input":          {[]string{"run", pipeline("missing", input, input+".gone"), "--data", data("1")}, exitFailed, []string{"input.jsonl.gone", "no such file", "follow: true"}},
		"dies at start":     {[]string{"run", pipeline("dies", "to: { topic: copies }", sink), "--data", data("2")}, exitFailed, []string{"connector orders-rows", dir}},
		"log of another":    {[]string{"run", good, "--data", data("old-log")}, exitEnvironment, []string{"old-log", "version 99", "use the program that wrote it"}},
		"server of another": {[]string{"server", "--data", filepath.Join(data("old-log"), "log"), "--listen", "127.0.0.1:0"}, exitEnvironment, []string{"version 99"}},
		"state of another":  {[]string{"run", good, "--data", data("old-state")}, exitEnvironment, []string{"old-state", "version 99", "use the program that wrote it"}},
		"log is held":       {[]string{"run", good, "--data", data("held")}, exitEnvironment, []string{"in use by process", fmt.Sprint(held.cmd.Process.Pid), "stop it first"}},
		"data is a file":    {[]string{"run", good, "--data", data("file")}, exitEnvironment, []string{data("file")}},
		"no broker":         {[]string{"run", good, "--data", data("3"), "-b", "127.0.0.1:1"}, exitEnvironment, []string{"127.0.0.1:1", "check the address"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := levada(t, "", c.args...)
			if out.code != c.code {
				t.Errorf("exit %d, want %d\n%s", out.code, c.code, out.stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(out.stderr, want) {
					t.Errorf("no %q in\n%s", want, out.stderr)
				}
			}
			if strings.Contains(out.stderr, "goroutine ") {
				t.Errorf("a stack trace:\n%s", out.stderr)
			}
		})
	}
}

// TestDeadLetters: a line that is not JSON, and one with a wrong field, go to
// the dead letters with the reason; the rest goes on.
func TestDeadLetters(t *testing.T) {
	dir := t.TempDir()
	input, path := filepath.Join(dir, "in.jsonl"), filepath.Join(dir, "p.yaml")
	writeFile(t, input, `{"id": 1}
this is not JSON
{"id": "one"}
{"id": 2}
`)
	writeFile(t, path, strings.ReplaceAll(goodPipeline, "INPUT", input)+"errors: { on_error: dead_letter, topic: rejected }\n")
	for range 2 { // the second run finds nothing new
		out := levada(t, "", "run", path, "--data", filepath.Join(dir, "data"), "--until-end")
		if out.code != exitDone {
			t.Fatalf("exit %d\n%s", out.code, out.stderr)
		}
	}
	s := startServer(t, filepath.Join(dir, "data", "log"), "127.0.0.1:0")
	if got := mustLevada(t, "", "topic", "consume", "copies", "--format", `%v\n`, "-b", s.address); strings.Count(got, "\n") != 2 || !strings.Contains(got, `"id": 1`) || !strings.Contains(got, `"id": 2`) {
		t.Errorf("copied:\n%s", got)
	}
	letters := strings.Split(strings.TrimSpace(mustLevada(t, "", "topic", "consume", "rejected", "--format", `%v %h\n`, "-b", s.address)), "\n")
	if len(letters) != 2 {
		t.Fatalf("%d dead letters: %q", len(letters), letters)
	}
	all := strings.Join(letters, "\n")
	for _, want := range []string{"this is not JSON", "in.jsonl:2", `{"id": "one"}`, "declared is int"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in the dead letters\n%s", want, all)
		}
	}
}

// TestUnreadableFile runs as a user who may not read everything: as nobody, if
// the test runs as root.
func TestUnreadableFile(t *testing.T) {
	dir := filepath.Dir(binary)
	path := filepath.Join(dir, "unreadable.yaml")
	writeFile(t, path, goodPipeline)
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "check", path)
	cmd.Dir = dir
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != exitInput || !strings.Contains(string(out), "permission denied") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

// TestBadTopics: what cannot be done for one topic is said in the broker's
// words, once, and the others are done and shown.
func TestBadTopics(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "there", "-b", s.address)
	mustLevada(t, "", "topic", "create", "compacted", "-c", "cleanup.policy=compact", "-b", s.address)
	for _, c := range []struct {
		args           []string
		stdout, stderr string
	}{
		{[]string{"create", "there", "new", "a b"}, "new", `"a b": INVALID_TOPIC_EXCEPTION: a name has 1 to 249 letters, digits, dots, underscores and hyphens, and is not "." or ".."` + "\n" + `topic "there": TOPIC_ALREADY_EXISTS: it exists already`},
		{[]string{"create", "none", "-p", "0"}, "", `topic "none": INVALID_PARTITIONS: 0 partitions`},
		{[]string{"create", "none", "-c", "cleanup.policy=shred"}, "", `topic "none": INVALID_CONFIG: cleanup.policy is "shred"; it takes a list of delete, compact`},
		{[]string{"delete", "none", "new"}, "new", `topic "none" does not exist (see: levada topic list)`},
		{[]string{"describe", "none", "there"}, `"topic":"there"`, `topic "none" does not exist (see: levada topic list)`},
		{[]string{"add-partitions", "none", "-n", "1"}, "", `topic "none" does not exist (see: levada topic list)`},
		{[]string{"alter-config", "none", "-s", "retention.ms=1"}, "", `topic "none" does not exist (see: levada topic list)`},
		{[]string{"alter-config", "there", "-s", "retention.ms=7d"}, "", "retention.ms=7d: it takes a number of milliseconds: 7d is 604800000"},
		{[]string{"create", "none", "-c", "segment.bytes=1GiB"}, "", "segment.bytes=1GiB: it takes a number of bytes"},
		{[]string{"create", "none", "-r", "3"}, "", `topic "none": INVALID_REPLICATION_FACTOR`},
		{[]string{"consume", "none"}, "", `topic "none" does not exist (see: levada topic list)`},
		{[]string{"produce", "none"}, "", `topic "none" does not exist (see: levada topic list)`},
		{[]string{"produce", "there", "-p", "7"}, "", `line 1: topic "there" has no partition 7`},
		{[]string{"produce", "there", "-f", "%k %v"}, "", `line 2: line "b" has no " " after %k`},
		{[]string{"produce", "compacted"}, "", `line 1: topic "compacted": INVALID_RECORD`},
	} {
		out := levada(t, "a 1\nb\n", append([]string{"topic", "-b", s.address}, c.args...)...)
		if out.code != exitInput || !strings.Contains(out.stderr, c.stderr) || strings.Count(out.stderr, "INVALID_TOPIC") > 1 {
			t.Errorf("%v: exit %d\n%s", c.args, out.code, out.stderr)
		}
		if c.stdout == "" && out.stdout != "" || !strings.Contains(out.stdout, c.stdout) {
			t.Errorf("%v: printed %q, want %q", c.args, out.stdout, c.stdout)
		}
	}
}
