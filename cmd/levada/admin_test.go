package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// securedServer starts a server that authenticates and authorizes, and returns what
// a command needs to be its administrator.
func securedServer(t *testing.T) (admin func(user, password string) []string) {
	t.Helper()
	dir := t.TempDir()
	users := filepath.Join(dir, "users")
	if err := os.WriteFile(users, []byte("admin:adminpass\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "server", "--data", filepath.Join(dir, "data"), "--listen", "sasl://127.0.0.1:0", "--users", users, "--authorize", "--super-user", "User:admin", "--output", "json")
	cmd.Stderr = os.Stderr
	s := startCommand(t, cmd)
	return func(user, password string) []string {
		return []string{"-o", "table", "-b", s.address, "-X", "user=" + user, "-X", "pass=" + password}
	}
}

// TestAdministration adds a user, gives it rights and a limit, and takes them away.
func TestAdministration(t *testing.T) {
	as := securedServer(t)
	do := func(user, password, stdin string, args ...string) outcome {
		t.Helper()
		return levada(t, stdin, append(as(user, password), args...)...)
	}
	must := func(want, stdin string, args ...string) {
		t.Helper()
		r := do("admin", "adminpass", stdin, args...)
		if r.code != 0 || !strings.Contains(r.stdout, want) || strings.Contains(r.stdout+r.stderr, "pass") {
			t.Fatalf("%v: exit %d, want %q in\n%s%s", args, r.code, want, r.stdout, r.stderr)
		}
	}
	must("orders", "", "topic", "create", "orders")
	must("admin", "", "user", "list")
	if r := do("ann", "annpass", "", "topic", "list"); r.code != exitInput || strings.Contains(r.stderr, "annpass") {
		t.Errorf("before she exists: exit %d\n%s", r.code, r.stderr)
	}
	must("ann", "annpass\n", "user", "set", "ann")
	if out := mustLevada(t, "", append(append([]string{"__complete", "user", "delete"}, as("admin", "adminpass")...), "")...); !strings.Contains(out, "ann\n") {
		t.Errorf("completion of users:\n%s", out)
	}
	if r := do("ann", "annpass", "", "topic", "list"); r.code != 0 || strings.Contains(r.stdout, "orders") {
		t.Errorf("without rights: exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	must("User:ann", "", "acl", "create", "--allow", "User:ann", "--operation", "read,write", "--topic", "ord", "--prefixed")
	must("PREFIXED", "", "acl", "list")
	if r := do("ann", "annpass", "x\n", "topic", "produce", "orders"); r.code != 0 {
		t.Errorf("with rights: exit %d\n%s", r.code, r.stderr)
	}
	must("DENY", "", "acl", "create", "--deny", "User:*", "--operation", "write", "--topic", "orders")
	if r := do("ann", "annpass", "x\n", "topic", "produce", "orders", "--timeout", "3s"); r.code == 0 {
		t.Error("who is denied can write")
	}
	must("User:ann", "", "acl", "delete", "--allow", "User:ann", "--operation", "read,write", "--topic", "ord", "--prefixed")
	must("DENY", "", "acl", "delete", "--deny", "User:*", "--operation", "write", "--topic", "orders")
	both := []string{"--allow", "User:ann", "--deny", "User:ann", "--operation", "write", "--topic", "orders"}
	must("ALLOW", "", append([]string{"acl", "create"}, both...)...)
	if out := do("admin", "adminpass", "", append([]string{"acl", "delete"}, both...)...).stdout; !strings.Contains(out, "ALLOW") || !strings.Contains(out, "DENY") {
		t.Errorf("one who is allowed and denied:\n%s", out)
	}
	must("would be set", "", "quota", "set", "producer_byte_rate=1000", "--user", "ann", "--dry-run")
	must("no limits", "", "quota", "list")
	must("user=ann", "", "quota", "set", "producer_byte_rate=1000", "--user", "ann")
	must("1000", "", "quota", "list")
	must(`"who":{"user":"ann"}`, "", "quota", "list", "-o", "json")
	must("user=ann", "", "quota", "set", "producer_byte_rate=", "--user", "ann")
	must("no limits", "", "quota", "list")
	must("no transactions", "", "txn", "list")
	must("PRODUCER", "", "txn", "producers", "orders")
	must("deleted", "", "user", "delete", "ann")
	for name, args := range map[string][]string{
		"no right":   {"acl", "create", "--allow", "User:ann"},
		"operation":  {"acl", "create", "--allow", "User:ann", "--operation", "fly", "--topic", "t"},
		"principal":  {"acl", "create", "--allow", "ann", "--operation", "read", "--topic", "t"},
		"nobody":     {"user", "delete", "nobody"},
		"mechanism":  {"user", "set", "x", "--mechanism", "MD5"},
		"iterations": {"user", "set", "x", "--iterations", "100"},
		"no way in":  {"user", "set", "x", "--mechanism", ""},
		"no one's":   {"quota", "set", "producer_byte_rate=1"},
		"limit":      {"quota", "set", "producer_byte_rate=fast", "--user", "ann"},
		"what limit": {"quota", "set", "speed=1", "--user", "ann"},
		"no txn":     {"txn", "abort", "orders", "--producer", "5"},
		"no topic":   {"txn", "producers", "nowhere"},
		"setting":    {"topic", "list", "-X", "colour=blue"},
	} {
		if r := do("admin", "adminpass", "p\n", args...); r.code != exitInput {
			t.Errorf("%s: exit %d\n%s%s", name, r.code, r.stdout, r.stderr)
		}
	}
	for want, args := range map[string][]string{
		`user "nobody" does not exist (see: levada user list)`:    {"user", "delete", "nobody"},
		`topic "nowhere" does not exist (see: levada topic list)`: {"txn", "producers", "nowhere"},
		`group "nope" does not exist (see: levada group list)`:    {"group", "delete", "nope"},
		"use one of read, write":                                  {"acl", "create", "--allow", "User:ann", "--operation", "reed", "--topic", "t"},
		"there is no such rule (see: levada acl list)":            {"acl", "delete", "--allow", "User:ann", "--operation", "read", "--topic", "t"},
		`topic "orders" has no partition 99`:                      {"txn", "abort", "orders", "--partition", "99", "--producer", "4"},
		"Name it with --producer ID":                              {"txn", "abort", "orders"},
		"has no limit producer_byte_rate to remove":               {"quota", "set", "producer_byte_rate=", "--user", "nobody"},
	} {
		if r := do("admin", "adminpass", "p\n", args...); r.code != exitInput || !strings.Contains(r.stderr, want) {
			t.Errorf("%v: exit %d, no %q in\n%s%s", args, r.code, want, r.stdout, r.stderr)
		}
	}
	// No password, and one in the environment.
	if r := levada(t, "", append([]string{"topic", "list"}, as("admin", "")...)...); r.code != exitInput {
		t.Errorf("without a password: exit %d\n%s", r.code, r.stderr)
	}
}

// TestMissingRightsAreNamed: a user who may read one topic is told for each command
// what it lacks, and on what.
func TestMissingRightsAreNamed(t *testing.T) {
	as := securedServer(t)
	admin := func(stdin string, args ...string) { mustLevada(t, stdin, append(args, as("admin", "adminpass")...)...) }
	admin("", "topic", "create", "t1", "t2")
	admin("annpass\n", "user", "set", "ann")
	admin("", "acl", "create", "--allow", "User:ann", "--operation", "read", "--topic", "t1")
	out := mustLevada(t, "", append([]string{"topic", "describe", "t1"}, as("ann", "annpass")...)...)
	if !strings.Contains(out, "HIGH WATERMARK") || !strings.Contains(out, "--operation describe_configs --topic t1") {
		t.Errorf("a topic whose configs are not for ann:\n%s", out)
	}
	for _, c := range []struct{ args, thing, right string }{
		{"topic consume t2 -o json", `topic "t2"`, "--operation read --topic t2"},
		{"topic describe t2", `topic "t2"`, "--operation describe --topic t2"},
		{"topic produce t1", `topic "t1"`, "--operation write --topic t1"},
		{"topic create t3", `topic "t3"`, "--operation create --topic t3"},
		{"topic delete t1", `topic "t1"`, "--operation delete --topic t1"},
		{"topic alter-config t1 -s retention.ms=1", `topic "t1"`, "--operation alter_configs --topic t1"},
		{"topic add-partitions t1 -n 1", `topic "t1"`, "--operation alter --topic t1"},
		{"txn producers t2", `topic "t2"`, "--operation read --topic t2"},
		{"group describe g", `group "g"`, "--operation describe --group g"},
		{"group delete g", `group "g"`, "--operation delete --group g"},
		{"group seek g --topic t1 --to start", `group "g"`, "--operation read --group g"},
		{"acl list", "rules", "--operation describe --cluster"},
		{"acl create --allow User:a --operation read --topic t", "rule", "--operation alter --cluster"},
		{"user list", "users", "--operation describe --cluster"},
		{"user set bob", `user "bob"`, "--operation alter --cluster"},
		{"quota list", "limits", "--operation describe_configs --cluster"},
		{"quota set producer_byte_rate=1 --user x", "limits of user=x", "--operation alter_configs --cluster"},
		{"cluster config", "configs", "--operation describe_configs --cluster"},
		{"cluster alter-config -s a=b", "brokers", "--operation alter_configs --cluster"},
	} {
		r := levada(t, "line\n", append(as("ann", "annpass"), strings.Fields(c.args)...)...)
		if r.code != exitInput || !strings.Contains(r.stderr, c.thing) || !strings.Contains(r.stderr, c.right) {
			t.Errorf("%s: exit %d, want %s and %s in\n%s", c.args, r.code, c.thing, c.right, r.stderr)
		}
	}
}

// TestGroupSeek sets the offsets of a group in every way, within what there is.
func TestGroupSeek(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "t", "--partitions", "1", "-b", s.address)
	mustLevada(t, strings.Repeat("line\n", 10), "topic", "produce", "t", "-b", s.address)
	if r := levada(t, "", "group", "seek", "g", "--to", "start", "-b", s.address); r.code != exitInput || !strings.Contains(r.stderr, "--topic") {
		t.Errorf("without offsets: exit %d\n%s", r.code, r.stderr)
	}
	at := "-"
	for _, step := range []struct{ to, want string }{
		{"4", "4"}, {"+3", "7"}, {"-2", "5"}, {"end", "10"}, {"-100", "0"}, {"+100", "10"}, {"-3", "7"}, {"+9223372036854775807", "10"}, {"start", "0"}, {"99", "10"}, {"@-1h", "0"}, {"@-60m", "0"}, {"@2099-01-01T00:00:00Z", "10"}, {"@0", "0"},
	} {
		args := []string{"group", "seek", "g", "--to", step.to, "-b", s.address, "-o", "table"}
		if at == "-" {
			args = append(args, "--topic", "t")
		}
		for _, dry := range []bool{true, false} {
			if dry {
				args = append(args, "--dry-run")
			} else {
				args = args[:len(args)-1]
			}
			out := strings.Fields(mustLevada(t, "", args...))
			if got := out[len(out)-4:]; got[2] != at || got[3] != step.want {
				t.Errorf("%v: from %s to %s, want %s to %s", args, got[2], got[3], at, step.want)
			}
		}
		at = step.want
	}
	if r := levada(t, "", "group", "seek", "g", "--to", "9999", "-b", s.address); r.code != 0 || !strings.Contains(r.stderr, "t-0: 9999 is not within what there is; set to 10") {
		t.Errorf("beyond the end: exit %d\n%s", r.code, r.stderr)
	}
	mustLevada(t, "", "topic", "create", "second", "-p", "1", "-b", s.address)
	member, err := kgo.NewClient(kgo.SeedBrokers(s.address), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t", "second"), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go member.PollFetches(ctx)
	live := []string{"group", "describe", "g", "-b", s.address, "-o", "table"}
	for !strings.Contains(mustLevada(t, "", live...), "state Stable") {
		continue // it joins
	}
	if out := mustLevada(t, "", live...); !strings.Contains(out, "MEMBER") || !strings.Contains(out, "127.0.0.1") || !regexp.MustCompile(`(?m)^second +0 +- `).MatchString(out) {
		t.Errorf("a group with a member, and no offset in a topic:\n%s", out)
	}
	for _, args := range [][]string{{"group", "delete", "g"}, {"group", "seek", "g", "--to", "start"}} {
		if r := levada(t, "", append(args, "-b", s.address)...); r.code != exitInput || !strings.Contains(r.stderr, `group "g": NON_EMPTY_GROUP: it has members: stop them first`) {
			t.Errorf("%v: exit %d\n%s", args, r.code, r.stderr)
		}
	}
	member.Close()
	for _, bad := range []string{"", "x", "@", "@yesterday", "1.5"} {
		if r := levada(t, "", "group", "seek", "g", "--to", bad, "-b", s.address); r.code != exitInput || !strings.Contains(r.stderr, "use start, end") {
			t.Errorf("--to %q: exit %d\n%s", bad, r.code, r.stderr)
		}
	}
	mustLevada(t, "", "group", "delete", "g", "-b", s.address)
	if r := levada(t, "", "group", "delete", "g", "-b", s.address); r.code != exitInput {
		t.Errorf("deleted twice: exit %d\n%s", r.code, r.stderr)
	}
}

// TestSettingsOfTheEnvironment: -X goes before it, and what it says is used.
func TestSettingsOfTheEnvironment(t *testing.T) {
	env := map[string]string{"LEVADA_USER": "ann", "LEVADA_PASS": "secret", "LEVADA_TLS_CA": "/none", "LEVADA_SASL_MECHANISM": "plain"}
	s, err := readSettings([]string{"tls.ca=", "user=bob"}, func(k string) string { return env[k] }, settings{"user": "eve", "pass": "of the profile"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.mechanism()
	if err != nil || m.Name() != "PLAIN" || s["user"] != "bob" || s["pass"] != "secret" || s["tls.ca"] != "" {
		t.Errorf("settings %v, mechanism %v, %v", s, m, err)
	}
	for _, bad := range []string{"user", "password=secret"} {
		if _, err := readSettings([]string{bad}, func(string) string { return "" }, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []settings{{"tls.enabled": "maybe"}, {"tls.ca": "/none"}, {"tls.cert": "/none"}, {"sasl.mechanism": "MD5", "user": "a", "pass": "b"}, {"sasl.mechanism": "OAUTHBEARER"}} {
		if _, _, err := bad.options(); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// TestSeekOfABrokerThatIsGone: that a broker ends in the middle of a command is no
// wrong input, and the exit code says so.
func TestSeekOfABrokerThatIsGone(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	mustLevada(t, "", "topic", "create", "t", "-b", s.address)
	cl := &cluster{brokers: s.address, timeout: time.Second}
	admin, err := cl.admin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	moves, err := planSeek(t.Context(), admin, "g", []string{"t"}, seekTarget{kind: "end"})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.signal(syscall.SIGKILL) // it says that it was killed
	err = commitSeek(t.Context(), admin, "g", moves)
	if err == nil || exitCode(err) != exitEnvironment || !strings.Contains(err.Error(), `group "g"`) {
		t.Errorf("exit %d: %v", exitCode(err), err)
	}
}
