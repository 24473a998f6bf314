package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// program is what is tested. TestMain builds it.
var program string

func TestMain(m *testing.M) {
	if os.Getenv("LEVADA_E2E") == "" {
		os.Exit(m.Run()) // what needs it is skipped
	}
	dir, err := os.MkdirTemp("", "levada-chaos-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program = filepath.Join(dir, "levada")
	code := 1
	if build("-o", program) {
		code = m.Run()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(args ...string) bool {
	cmd := exec.Command("go", append(append([]string{"build"}, args...), "../../cmd/levada")...)
	cmd.Stderr = os.Stderr
	return cmd.Run() == nil
}

func needsE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("LEVADA_E2E") == "" {
		t.Skip("starts and kills real processes for a minute: run it with make e2e")
	}
}

// config is a run in a directory that stays if the run found something.
func config(t *testing.T) Config {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("LEVADA_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("LEVADA_SEED: %v", err)
		}
		seed = n
	}
	dir, err := os.MkdirTemp("", "levada-chaos-run-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			os.RemoveAll(dir)
		}
	})
	began := time.Now()
	t.Logf("seed %d, in %s", seed, dir)
	return Config{Binary: program, Dir: dir, Seed: seed, Log: func(format string, args ...any) {
		t.Logf("%6.2fs "+format, append([]any{time.Since(began).Seconds()}, args...)...)
	}}
}

// TestKills kills the server under transactional load.
func TestKills(t *testing.T) {
	needsE2E(t)
	c := config(t)
	c.Rounds, c.Kills, c.PowerLoss = 4, 7, true
	result, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !result.Report.OK() {
		t.Fatalf("kept in %s:\n%s", result.Kept, result.Report)
	}
	if result.Kills < 25 || result.Committed < 1000 {
		t.Errorf("%d kills and %d committed records: want at least 25 and 1000", result.Kills, result.Committed)
	}
}

// TestLong runs for as long as it is told: make chaos.
func TestLong(t *testing.T) {
	needsE2E(t)
	s := os.Getenv("LEVADA_CHAOS")
	if s == "" {
		t.Skip("runs for long: run it with make chaos DURATION=10m")
	}
	c := config(t)
	c.PowerLoss = true
	var err error
	if c.Duration, err = time.ParseDuration(s); err != nil {
		t.Fatalf("LEVADA_CHAOS: %v", err)
	}
	result, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if !result.Report.OK() {
		t.Fatalf("kept in %s:\n%s", result.Kept, result.Report)
	}
	t.Logf("%d rounds, %d kills, %d power losses, %d committed records: nothing was found", result.Rounds, result.Kills, result.PowerLosses, result.Committed)
}
