package host

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBadPlugins asserts that a plugin that cannot be worked with is told in
// plain words, in bounded time, and that nothing of it is left.
func TestBadPlugins(t *testing.T) {
	tests := []struct {
		part  string
		start time.Duration
		hang  time.Duration
		want  []string
	}{
		{part: "dies", want: []string{"exited with status 3 before it was ready", "cannot find the licence", "gave up after"}},
		{part: "garbage", want: []string{"is no connector of Levada", `"hello, I am no plugin"`, "serves the plugin protocol"}},
		{part: "flood", want: []string{"is no connector of Levada"}},
		{part: "longline", start: time.Second, want: []string{"is no connector of Levada"}},
		{part: "mute", start: 300 * time.Millisecond, want: []string{"did not answer within 300ms"}},
		{part: "version", want: []string{"speaks version 99 of the plugin protocol, this host speaks 1", "build the connector"}},
		{part: "panics", want: []string{"panic: index out of reach"}},
		{part: "crashes", want: []string{"exited with status 2", "panic: in another goroutine"}},
		{part: "hangs", hang: 1500 * time.Millisecond, want: []string{"hangs: it said nothing for 1.5s, and was killed"}},
		{part: "large", want: []string{"a batch of 2097", "at most 1048576 are allowed", "mend the connector"}},
	}
	for _, tt := range tests {
		t.Run(tt.part, func(t *testing.T) {
			c := testConfig(t, newMemLog(), "bad", tt.part, `{}`)
			c.Restart.Budget = 1
			orDefault(&tt.start, c.Limits.Start)
			orDefault(&tt.hang, c.Limits.Hang)
			c.Limits.Start, c.Limits.Hang, c.Limits.BatchBytes = tt.start, tt.hang, 1<<20
			s, err := NewSource(SourceConfig{Config: c, Topic: "in"})
			if err != nil {
				t.Fatal(err)
			}
			got := mustFail(t, s.Run).Error()
			for _, w := range append(tt.want, "connector bad: ") {
				if !strings.Contains(got, w) {
					t.Errorf("the error lacks %q:\n%s", w, got)
				}
			}
			if len(got) > 20_000 {
				t.Errorf("the error has %d bytes", len(got))
			}
		})
	}
}

func TestMissingProgram(t *testing.T) {
	c := testConfig(t, newMemLog(), "bad", "file", `{}`)
	c.Command = Command{Path: "/nowhere/connector"}
	s, err := NewSource(SourceConfig{Config: c, Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	if got := mustFail(t, s.Run).Error(); !strings.Contains(got, "/nowhere/connector cannot be run") {
		t.Error(got)
	}
}

func TestBadSettings(t *testing.T) {
	s, err := NewSource(SourceConfig{Config: testConfig(t, newMemLog(), "bad", "file", `{"format": "csv"}`), Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	e := mustFail(t, s.Run)
	for _, w := range []string{"path: is not set", `format: "csv" is not known`} {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("the error lacks %q: %v", w, e)
		}
	}
	if s.Status().Starts != 1 {
		t.Errorf("bad settings were tried %d times", s.Status().Starts)
	}
}

// TestScrubbedEnvironment asserts that secrets of the host do not reach a
// plugin.
func TestScrubbedEnvironment(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "hidden")
	log := newMemLog()
	c := testConfig(t, log, "env", "environment", `{}`)
	c.Command = playing("environment", "GIVEN=1")
	s, err := NewSource(SourceConfig{Config: c, Topic: "in"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	records := log.all("in")
	if len(records) != 1 {
		t.Fatalf("got %d records", len(records))
	}
	if got := string(records[0].Value); strings.Contains(got, "hidden") || !strings.Contains(got, "GIVEN=1") || !strings.Contains(got, "PATH=") {
		t.Errorf("the plugin's environment is\n%s", got)
	}
}

// TestNoOrphan asserts that a plugin whose host is gone exits by itself, and
// that one that ignores it is killed by the kernel.
func TestNoOrphan(t *testing.T) {
	r := newRunner(playing("file", "LEVADA_PLUGIN=7c1e0f6b-levada-connector"))
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Kill(context.Background()); r.close() }()
	_ = r.lifeline.Close() // as the kernel does when the host dies
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Wait(ctx); err == nil || ctx.Err() != nil {
		t.Fatalf("the plugin did not exit when its lifeline broke: %v", err)
	}
	if a := processAttributes(); a.Pdeathsig != syscall.SIGKILL || !a.Setpgid {
		t.Errorf("process attributes are %+v", a)
	}
}
