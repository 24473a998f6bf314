package main

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestConsumeInAGroup reads a topic as a member: each record is printed once, by
// whichever command, up to the number that was asked for, and where the group stands is
// what was printed.
func TestConsumeInAGroup(t *testing.T) {
	s := startServer(t, t.TempDir(), "127.0.0.1:0")
	at := func(args ...string) []string { return append(args, "-b", s.address) }
	consume := func(args ...string) string {
		return mustLevada(t, "", at(append([]string{"topic", "consume", "orders", "-g", "billing", "-f", `%v\n`}, args...)...)...)
	}
	committed := func() (sum int64) {
		var g struct{ Lag []struct{ Committed int64 } }
		out := mustLevada(t, "", at("group", "describe", "billing")...)
		if err := json.Unmarshal([]byte(out), &g); err != nil {
			t.Fatalf("%v of\n%s", err, out)
		}
		for _, p := range g.Lag {
			sum += max(0, p.Committed)
		}
		return sum
	}
	mustLevada(t, "", at("topic", "create", "orders", "--partitions", "3")...)
	mustLevada(t, "0 a\n0 b\n0 c\n2 d\n", at("topic", "produce", "orders", "-f", "%p %v")...)
	if out := consume("--offset", "end"); out != "" {
		t.Errorf("a new group that begins at the end got\n%s", out)
	}
	first := consume("-n", "2")
	if strings.Count(first, "\n") != 2 || committed() != 2 {
		t.Errorf("the first two are\n%s and %d are committed", first, committed())
	}
	second := consume()
	if got := strings.Split(strings.TrimSpace(first+second), "\n"); len(got) != 4 || committed() != 4 {
		t.Errorf("both printed %q, and %d are committed", got, committed())
	}
	if out := consume(); out != "" {
		t.Errorf("a third got\n%s", out)
	}
	mustLevada(t, "1 e\n2 f\n", at("topic", "produce", "orders", "-f", "%p %v")...)
	if out := consume("--where", "value == 'f'"); out != "f\n" || committed() != 6 {
		t.Errorf("of what came later:\n%s and %d are committed", out, committed())
	}

	follower := exec.Command(binary, at("topic", "consume", "orders", "-g", "billing", "--follow", "-f", `%v\n`)...)
	printed, err := follower.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = follower.Process.Kill() })
	mustLevada(t, "1 g\n", at("topic", "produce", "orders", "-f", "%p %v")...)
	if line, err := bufio.NewReader(printed).ReadString('\n'); err != nil || line != "g\n" {
		t.Errorf("the follower printed %q, %v", line, err)
	}
	if err := follower.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = follower.Wait() // it says that it was interrupted
	if n := committed(); n != 7 {
		t.Errorf("after an interrupt %d are committed", n)
	}

	for _, bad := range [][]string{{"-g", ""}, {"-g", "billing", "-p", "0"}, {"-g", "billing", "--offset", "5"}} {
		if r := levada(t, "", at(append([]string{"topic", "consume", "orders"}, bad...)...)...); r.code != exitInput {
			t.Errorf("%q: exit %d\n%s", bad, r.code, r.stderr)
		}
	}
}
