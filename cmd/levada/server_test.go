package main

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestServerKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "t", "--partitions", "3", "-b", s.address)
	want := 0
	for round, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		var lines strings.Builder
		for i := range 500 {
			fmt.Fprintf(&lines, "k%d=round %d record %d\n", i%7, round, i)
		}
		mustLevada(t, lines.String(), "topic", "produce", "t", "--key-separator", "=", "-b", s.address)
		want += 500
		if err := s.signal(sig); sig == syscall.SIGTERM && err != nil {
			t.Fatalf("SIGTERM: %v", err)
		}
		s = startServer(t, dir, "127.0.0.1:0")
		out := mustLevada(t, "", "topic", "consume", "t", "--format", `%k=%v\n`, "-b", s.address)
		if got := strings.Count(out, "\n"); got != want {
			t.Fatalf("after %v: %d records, want %d", sig, got, want)
		}
	}
}

func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		needsE2E(t)
		t.Skip("kcat is not installed: make deps")
	}
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "lines", "--partitions", "2", "-b", s.address)
	run := func(stdin string, args ...string) string {
		t.Helper()
		cmd := exec.Command(kcat, append([]string{"-b", s.address}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("kcat %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := run("", "-L"); !strings.Contains(out, `topic "lines" with 2 partitions`) {
		t.Errorf("kcat -L does not list the topic:\n%s", out)
	}
	run("a:one\nb:two\na:three\n", "-P", "-t", "lines", "-K", ":", "-X", "enable.idempotence=true")
	out := run("", "-C", "-t", "lines", "-e", "-q", "-f", "%k=%s\n")
	for _, want := range []string{"a=one\n", "b=two\n", "a=three\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("kcat -C printed no %q:\n%s", want, out)
		}
	}
	if got := mustLevada(t, "", "topic", "consume", "lines", "--format", `%k=%v\n`, "-b", s.address); strings.Count(got, "\n") != 3 {
		t.Errorf("levada topic consume printed %q", got)
	}
}

func TestTopicAndGroupCommands(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "a", "b", "-p", "2", "-c", "cleanup.policy=compact", "-b", s.address)
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"topic", "list", "-o", "table"}, []string{"TOPIC", "a", "b"}},
		{[]string{"topic", "list"}, []string{`{"topics":[{"topic":"a"`, `"partitions":2`}},
		{[]string{"topic", "describe", "a", "-o", "table"}, []string{"cleanup.policy", "compact", "HIGH WATERMARK"}},
		{[]string{"group", "list", "-o", "table"}, []string{"no groups"}},
		{[]string{"topic", "delete", "b", "-o", "table"}, []string{"DELETED", "b"}},
		{[]string{"version"}, []string{version}},
		{[]string{"--version"}, []string{version}},
	} {
		args := c.args
		if !strings.Contains(args[0], "version") {
			args = append(args, "-b", s.address)
		}
		out := mustLevada(t, "", args...)
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("levada %s: no %q in\n%s", strings.Join(c.args, " "), want, out)
			}
		}
	}
	if out := mustLevada(t, "", "topic", "list", "-o", "table", "-b", s.address); strings.Contains(out, "\nb ") {
		t.Errorf("b was deleted and is listed:\n%s", out)
	}
}

func TestBadInput(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"frobnicate"}, 2, []string{"frobnicate"}},
		{[]string{"topic", "list", "--no-such-flag"}, 2, []string{"--no-such-flag", "levada topic list --help"}},
		{[]string{"topic", "create"}, 2, []string{"TOPIC… is missing", "usage: levada topic create TOPIC"}},
		{[]string{"topic", "list", "t"}, 2, []string{`"t" is one too many`}},
		{[]string{"topic", "consume", "t", "-p", "x"}, 2, []string{`--partition "x": use whole numbers`}},
		{[]string{"topic", "consume", "t", "-n", "0"}, 2, []string{"--num 0: use at least 1"}},
		{[]string{"topic", "consume", "t", "-n", "-2"}, 2, []string{"--num -2: use at least 1"}},
		{[]string{"topic", "consume", "t", "-o", "table"}, 2, []string{"--output table", "--format"}},
		{[]string{"completion", "tcsh"}, 2, []string{"tcsh", "levada completion --help"}},
		{[]string{"bench", "count", "--records", "-5"}, 2, []string{"--records", "positive"}},
		{[]string{"bench", "produce", "--records", "-5"}, 2, []string{"--records", "positive"}},
		{[]string{"bench", "latency", "--client", "java"}, 2, []string{"--client", "encoded", "franz-go"}},
		{[]string{"topic", "list", "-b", "127.0.0.1:1", "--timeout", "2s"}, 3, []string{"127.0.0.1:1", "levada server --data"}},
		{[]string{"topic", "describe", "nothing", "-b", s.address}, 2, []string{`"nothing"`, "levada topic list"}},
		{[]string{"topic", "consume", "nothing", "-b", s.address}, 2, []string{`"nothing"`}},
		{[]string{"topic", "create", "../evil", "-b", s.address}, 2, []string{"../evil"}},
		{[]string{"server"}, 2, []string{"--data"}},
		{[]string{"server", "--data", s.dir, "--listen", "127.0.0.1:0"}, 3, []string{"in use by process", fmt.Sprint(s.cmd.Process.Pid)}},
		{[]string{"server", "--data", "/proc/no/such", "--listen", "127.0.0.1:0"}, 3, []string{"/proc/no/such"}},
		{[]string{"server", "--data", t.TempDir(), "--listen", s.address}, 3, []string{s.address, "--listen"}},
		{[]string{"plugin", "nothing"}, 2, []string{"file, sqlite"}},
		{[]string{"bench", "nothing"}, 2, []string{"passthrough"}},
		{[]string{"version", "-o", "xml"}, 2, []string{"--output", "table or json"}},
	} {
		out := levada(t, "", c.args...)
		if out.code != c.code {
			t.Errorf("levada %s: exit %d, want %d\n%s", strings.Join(c.args, " "), out.code, c.code, out.stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(out.stderr, want) {
				t.Errorf("levada %s: no %q in %q", strings.Join(c.args, " "), want, out.stderr)
			}
		}
		if strings.Contains(out.stderr, "goroutine ") {
			t.Errorf("levada %s: a stack trace:\n%s", strings.Join(c.args, " "), out.stderr)
		}
	}
}

// TestLevelOfTheServersLog: a server that says warnings only says more as soon as a client
// sets the level of its log.
func TestLevelOfTheServersLog(t *testing.T) {
	cmd := exec.Command(binary, "server", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--output", "json")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	s := startCommand(t, cmd)
	client, err := kgo.NewClient(kgo.SeedBrokers(s.address))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
		ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: "0",
		Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "root", Value: kmsg.StringPtr("DEBUG")}},
	}}
	resp, err := req.RequestWith(t.Context(), client)
	if err != nil || resp.Resources[0].ErrorCode != 0 {
		t.Fatalf("%v, %+v", err, resp)
	}
	cut, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = cut.Write([]byte{0}) // an end in the middle of a request is said at that level
	_ = cut.Close()
	defer time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() }).Stop()
	said := ""
	for lines := bufio.NewScanner(log); !strings.Contains(said, `"level":"DEBUG"`); said += lines.Text() {
		if !lines.Scan() {
			t.Fatalf("nothing more is said:\n%s", said)
		}
	}
}
