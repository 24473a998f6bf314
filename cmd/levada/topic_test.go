package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestLineFormats reads records from lines in formats of topic produce.
func TestLineFormats(t *testing.T) {
	for _, c := range []struct {
		format, line string
		want         kgo.Record
	}{
		{`%v`, "a b", kgo.Record{Value: []byte("a b")}},
		{`%k\t%v`, "key\tvalue\twith tab", kgo.Record{Key: []byte("key"), Value: []byte("value\twith tab")}},
		{`[%p] %k=%v;\n`, "[3] a=b=c;", kgo.Record{Partition: 3, Key: []byte("a"), Value: []byte("b=c")}},
		{`%t 100%% %v`, "orders 100% x", kgo.Record{Topic: "orders", Value: []byte("x")}},
		{`%h|%v`, "a=1,b=2|x", kgo.Record{Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("2")}}, Value: []byte("x")}},
	} {
		f, err := parseLineFormat(c.format)
		if err != nil {
			t.Fatalf("%s: %v", c.format, err)
		}
		var got kgo.Record
		if err := f.read([]byte(c.line), &got); err != nil {
			t.Fatalf("%s: %v", c.format, err)
		}
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(kgo.Record{}, kgo.RecordAttrs{}), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Context" }, cmp.Ignore())); d != "" {
			t.Errorf("%s of %q: %s", c.format, c.line, d)
		}
	}
	for _, bad := range []string{`%x`, `%`, `text`, `%k%v`, `%v %v`} {
		if _, err := parseLineFormat(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	for format, line := range map[string]string{`%k=%v`: "none", `%p %v`: "x y", `<%v>`: "<a", `%d %v`: "noon x", `a%v`: "b"} {
		f, err := parseLineFormat(format)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.read([]byte(line), &kgo.Record{}); err == nil || !strings.Contains(err.Error(), line) {
			t.Errorf("%s of %q: %v", format, line, err)
		}
	}
}

// TestTopicsByHand writes and reads with formats and expressions, changes a topic,
// and completes its name.
func TestTopicsByHand(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	at := func(args ...string) []string { return append(args, "-b", s.address) }
	mustLevada(t, "", at("topic", "create", "orders", "--partitions", "2")...)
	mustLevada(t, "1 a {\"amount\":5}\n0 b {\"amount\":50}\n1 c {\"amount\":500}\n0 d text\n", at("topic", "produce", "orders", "-f", "%p %k %v", "-z", "zstd")...)
	if out := mustLevada(t, "", at("topic", "consume", "orders", "-f", `%p/%o %k\n`, "--where", "key == 'd' || value.amount >= 50")...); out != "1/1 c\n0/0 b\n0/1 d\n" && out != "0/0 b\n0/1 d\n1/1 c\n" {
		t.Errorf("chosen:\n%s", out)
	}
	r := levada(t, "", at("topic", "consume", "orders", "-f", `%k `, "--where", "value.amount > 5")...)
	if r.code != 0 || !strings.Contains(r.stderr, "no result for 1 records") || strings.Contains(r.stdout, "d") {
		t.Errorf("an expression without a result: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	mustLevada(t, "x=\ny=1\n", at("topic", "produce", "orders", "-K", "=", "-Z", "-p", "0")...)
	if out := mustLevada(t, "", at("topic", "consume", "orders", "-p", "0", "--offset", "-2")...); !strings.Contains(out, `"key":"x","value":null`) || !strings.Contains(out, `"key":"y","value":"1"`) {
		t.Errorf("a tombstone and a record:\n%s", out)
	}
	if r := levada(t, "", at("topic", "consume", "orders", "--where", "valu == 1")...); r.code != exitInput || !strings.Contains(r.stderr, "valu") {
		t.Errorf("a wrong expression: exit %d\n%s", r.code, r.stderr)
	}

	mustLevada(t, "", at("topic", "add-partitions", "orders", "--num", "3")...)
	mustLevada(t, "", at("topic", "alter-config", "orders", "--set-config", "retention.ms=1000", "--set-config", "cleanup.policy=compact")...)
	mustLevada(t, "", at("topic", "alter-config", "orders", "--reset-config", "cleanup.policy")...)
	mustLevada(t, "", at("topic", "alter-config", "orders", "--set", "flush.ms=1", "--add-config", "segment.ms=2000", "-s", "segment.bytes=2000000")...) // as other tools call it
	mustLevada(t, "", at("topic", "alter-config", "orders", "--delete", "segment.bytes", "--delete-config", "flush.ms")...)
	var described struct{ Topics []topicDetail }
	if err := json.Unmarshal([]byte(mustLevada(t, "", at("topic", "describe", "orders")...)), &described); err != nil {
		t.Fatalf("what is piped is no JSON: %v", err)
	}
	d := described.Topics[0]
	if len(d.Partitions) != 5 || d.Configs["retention.ms"] != "1000" || d.Configs["cleanup.policy"] != "delete" || d.Configs["segment.ms"] != "2000" || d.Sources["segment.ms"] != "DYNAMIC_TOPIC_CONFIG" || d.Sources["flush.ms"] != "DEFAULT_CONFIG" {
		t.Errorf("after the changes: %+v", d)
	}
	for _, bad := range [][]string{{"topic", "alter-config", "orders"}, {"topic", "alter-config", "orders", "-s", "colour=blue"}, {"topic", "add-partitions", "none", "-n", "1"}, {"topic", "add-partitions", "orders"}, {"topic", "produce", "orders", "-z", "brotli"}} {
		if r := levada(t, "", at(bad...)...); r.code != exitInput {
			t.Errorf("%v: exit %d\n%s", bad, r.code, r.stderr)
		}
	}
	for _, args := range [][]string{{"topic", "describe"}, {"txn", "producers"}, {"txn", "abort"}, {"group", "seek", "g", "--topic"}, {"acl", "create", "--topic"}} {
		args = append(append([]string{"__complete"}, args...), "")
		args = slices.Insert(args, 3, "-b", s.address)
		if out := mustLevada(t, "", args...); !strings.Contains(out, "orders\n") {
			t.Errorf("completion of %v:\n%s", args, out)
		}
	}

	if out := mustLevada(t, "", at("cluster", "info", "-o", "table")...); !strings.Contains(out, s.address) {
		t.Errorf("cluster info:\n%s", out)
	}
	if out := mustLevada(t, "", at("cluster", "config")...); !strings.Contains(out, `"num.partitions"`) {
		t.Errorf("cluster config:\n%s", out)
	}
}

// TestClusterConfigs: configs of the broker are changed while it runs, topics follow, and a
// server that is started again has them still.
func TestClusterConfigs(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, dir, "127.0.0.1:0")
	at := func(args ...string) []string { return append(args, "-b", s.address) }
	mustLevada(t, "", at("topic", "create", "t")...)
	retention := func(want, source string) {
		t.Helper()
		var described struct{ Topics []topicDetail }
		if err := json.Unmarshal([]byte(mustLevada(t, "", at("topic", "describe", "t")...)), &described); err != nil {
			t.Fatal(err)
		}
		d := described.Topics[0]
		if d.Configs["retention.ms"] != want || d.Sources["retention.ms"] != source {
			t.Errorf("retention.ms is %s, %s; want %s, %s", d.Configs["retention.ms"], d.Sources["retention.ms"], want, source)
		}
	}
	retention("604800000", "DEFAULT_CONFIG")
	if out := mustLevada(t, "", at("cluster", "alter-config", "-s", "log.retention.ms=5000", "-s", "max.connections=100", "-o", "table")...); !strings.Contains(out, "all brokers") {
		t.Errorf("changed:\n%s", out)
	}
	retention("5000", "DYNAMIC_DEFAULT_BROKER_CONFIG")
	if out := mustLevada(t, "", at("cluster", "config")...); !strings.Contains(out, `"log.retention.ms":"5000"`) || !strings.Contains(out, `"max.connections":"100"`) {
		t.Errorf("cluster config:\n%s", out)
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s = startServer(t, dir, "127.0.0.1:0")
	retention("5000", "DYNAMIC_DEFAULT_BROKER_CONFIG")
	mustLevada(t, "", at("cluster", "alter-config", "-d", "log.retention.ms")...)
	retention("604800000", "DEFAULT_CONFIG")
	for config, want := range map[string]string{"node.id=5": "node.id is given when the broker starts", "log.retention.ms=7d": "7d is 604800000", "max.connections=0": "it takes 1 to 2147483647"} {
		if r := levada(t, "", at("cluster", "alter-config", "-s", config)...); r.code != exitInput || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: exit %d\n%s", config, r.code, r.stderr)
		}
	}
}

// TestHeadersInOrder: headers are a list, in which a name may be more than once.
func TestHeadersInOrder(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "t", "-p", "1", "-b", s.address)
	mustLevada(t, "v\n", "topic", "produce", "t", "-H", "a=1", "-H", "b=\xff", "-H", "a=2", "-b", s.address)
	if out, want := mustLevada(t, "", "topic", "consume", "t", "-b", s.address), `"headers":[{"key":"a","value":"1"},{"key":"b","value":null,"value_base64":"/w=="},{"key":"a","value":"2"}]`; !strings.Contains(out, want) {
		t.Errorf("no %s in\n%s", want, out)
	}
}

// TestConsumeSaysWhatCannotBe: an offset beyond the end, and an expression that is
// neither true nor false.
func TestConsumeSaysWhatCannotBe(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "t", "-p", "1", "-b", s.address)
	mustLevada(t, "1\n2\n", "topic", "produce", "t", "-b", s.address)
	for _, c := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"--offset", "500"}, exitDone, "--offset 500 is beyond the end of partition 0, which is 2"},
		{[]string{"--offset", "2"}, exitDone, ""},
		{[]string{"--where", "value"}, exitInput, "--where value gives a number for partition 0, offset 0"},
		{[]string{"--where", `value contains "1"`}, exitDone, "value is a number, and text is needed (text is the value as text, string(…) makes text of anything) (1:7)\n | value contains \"1\"\n | ......^"},
	} {
		r := levada(t, "", append([]string{"topic", "consume", "t", "-b", s.address}, c.args...)...)
		if r.code != c.code || !strings.Contains(r.stderr, c.stderr) || c.stderr == "" && r.stderr != "" || r.stdout != "" {
			t.Errorf("%v: exit %d\n%s%s", c.args, r.code, r.stdout, r.stderr)
		}
	}
}

// TestTimes reads times after "@" as a person writes them.
func TestTimes(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"1767225600000": "2026-01-01T00:00:00Z", "2026-01-02": "2026-01-02T00:00:00Z", "2026-01-02T15:04:05": "2026-01-02T15:04:05Z", "2026-01-02T15:04:05+01:00": "2026-01-02T14:04:05Z",
		"-1h": "2026-03-01T11:00:00Z", "-2d": "2026-02-27T12:00:00Z", "-400d": "2025-01-25T12:00:00Z", "-99999d": "1970-01-01T00:00:00Z", "1d": "2026-03-02T12:00:00Z",
	} {
		ms, ok := parseTime(text, now)
		if got := time.UnixMilli(ms).UTC().Format(time.RFC3339); !ok || got != want {
			t.Errorf("@%s is %s, %t, want %s", text, got, ok, want)
		}
	}
	for _, bad := range []string{"", "d", "-d", "yesterday", "2026-13-01", "999999999d", "-5"} {
		if _, ok := parseTime(bad, now); ok {
			t.Errorf("@%s was taken", bad)
		}
	}
}

// TestProfiles names a cluster, uses it, and never shows its password.
func TestProfiles(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	file := filepath.Join(t.TempDir(), "some", "profiles.json")
	t.Setenv("LEVADA_PROFILES", file)
	mustLevada(t, "", "profile", "set", "here", "-X", "brokers="+s.address)
	mustLevada(t, "", "profile", "set", "away", "-X", "brokers=192.0.2.1:9092", "-X", "user=ada", "-X", "pass=secret")
	mustLevada(t, "", "topic", "create", "orders")
	if out := mustLevada(t, "", "topic", "list", "--profile", "here"); !strings.Contains(out, "orders") {
		t.Errorf("topics:\n%s", out)
	}
	mustLevada(t, "", "profile", "use", "away")
	list := mustLevada(t, "", "profile", "list")
	if !strings.Contains(list, "ada") || strings.Contains(list, "secret") {
		t.Errorf("profiles:\n%s", list)
	}
	if r := levada(t, "", "topic", "list", "--timeout", "200ms"); r.code != exitEnvironment || !strings.Contains(r.stderr, "192.0.2.1") {
		t.Errorf("the other cluster: exit %d\n%s", r.code, r.stderr)
	}
	if out := mustLevada(t, "", "topic", "list", "-b", s.address, "-X", "sasl.mechanism=", "-X", "user=", "-X", "pass="); !strings.Contains(out, "orders") {
		t.Errorf("flags go before the profile:\n%s", out)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	for _, bad := range [][]string{{"profile", "use", "none"}, {"profile", "delete", "none"}, {"profile", "set", "x", "-X", "colour=blue"}, {"profile", "set", ""}, {"profile", "set", "-"}, {"topic", "list", "--profile", "none"}} {
		if r := levada(t, "", bad...); r.code != exitInput {
			t.Errorf("%v: exit %d\n%s", bad, r.code, r.stderr)
		}
	}
	mustLevada(t, "", "profile", "delete", "away")
	mustLevada(t, "", "profile", "use", "-")
}

// TestProduceOldTimestamps: a record of years ago is not late, and neither is one of
// the future.
func TestProduceOldTimestamps(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "c", "-p", "1", "-c", "retention.ms=-1", "-b", s.address)
	in := "k\tv\t1000\nk\tv\t1767225600000\nk\tv\t" + fmt.Sprint(time.Now().Add(30*time.Minute).UnixMilli()) + "\n"
	mustLevada(t, in, "topic", "produce", "c", "-f", `%k\t%v\t%d`, "-b", s.address)
	if out := mustLevada(t, "", "topic", "consume", "c", "-f", `%k\t%v\t%d\n`, "-b", s.address); out != in {
		t.Errorf("written\n%sread\n%s", in, out)
	}
}

// TestDescribeSaysWhatExpires: records that are too old by their own time are said to be
// deleted, and only where retention by time deletes them.
func TestDescribeSaysWhatExpires(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	now := time.Now().UnixMilli()
	for _, c := range []struct {
		name, policy, retention, want string
		timestamps                    []int64
	}{
		{"default", "delete", "604800000", "retention.ms=604800000 by their own timestamps, and deleted as soon as all of their segment are: partition 0 below offset 2\n", []int64{1000, 2000, now}},
		{"all", "compact,delete", "3600000", "partition 0 below offset 2\n", []int64{1000, 2000}},
		{"new", "delete", "604800000", "", []int64{now, now}},
		{"mixed", "delete", "604800000", "", []int64{now, 1000}},
		{"forever", "delete", "-1", "", []int64{1000}},
		{"longest", "delete", "9223372036854775807", "", []int64{1000}},
		{"compacted", "compact", "3600000", "", []int64{1000}},
		{"empty", "delete", "3600000", "", nil},
	} {
		mustLevada(t, "", "topic", "create", c.name, "-p", "1", "-c", "cleanup.policy="+c.policy, "-c", "retention.ms="+c.retention, "-b", s.address)
		for _, at := range c.timestamps {
			mustLevada(t, fmt.Sprintf("k v %d\n", at), "topic", "produce", c.name, "-f", "%k %v %d", "-b", s.address)
		}
		out := mustLevada(t, "", "topic", "describe", c.name, "-o", "table", "-b", s.address)
		if said := strings.Contains(out, "own timestamps"); !strings.Contains(out, c.want) || said != (c.want != "") {
			t.Errorf("%s: want %q in\n%s", c.name, c.want, out)
		}
		out = mustLevada(t, "", "topic", "describe", c.name, "-b", s.address)
		if strings.Contains(out, `"expires_below":2`) != (c.want != "") || strings.Contains(out, "expires_below") != (c.want != "") {
			t.Errorf("%s: want %q of\n%s", c.name, c.want, out)
		}
	}
}

// TestProduceEndsWithASignal: what was typed before it is delivered.
func TestProduceEndsWithASignal(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "c", "-p", "1", "-b", s.address)
	cmd := exec.Command(binary, "topic", "produce", "c", "-b", s.address)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "typed\n"); err != nil {
		t.Fatal(err)
	}
	if out := mustLevada(t, "", "topic", "consume", "c", "--follow", "-n", "1", "-f", "%v", "-b", s.address); out != "typed" {
		t.Errorf("read %q", out)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(stderr.String(), "after 1 records") || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("exit %d\n%s", code, stderr.String())
	}
}
