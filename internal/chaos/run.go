package chaos

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/levada/levada/internal/checker"
	"github.com/levada/levada/internal/powerloss"
)

// Config says what to run and for how long: until Duration has passed or Rounds
// were played, or something was found.
type Config struct {
	// Binary is the program cmd/levada.
	Binary string
	// Env is added to the environment of the server.
	Env []string
	// Dir is where data, logs and histories go.
	Dir string
	// Seed is what everything random comes from.
	Seed uint64
	// Rounds is how many rounds are played at most; 0: no limit.
	Rounds int
	// Duration is after how long no other round begins; 0: no limit.
	Duration time.Duration
	// Kills is how often the server is killed in a round. Default: 3 to 8.
	Kills int
	// PowerLoss adds power losses to the kills, where they can be made, and says it
	// where not.
	PowerLoss bool
	// Log is told what happens.
	Log func(format string, args ...any)
}

// Result is what a run has done and found.
type Result struct {
	Rounds, Kills, PowerLosses int
	Committed                  int // records
	// Report is that of the last round, which is the only one in which anything
	// can have been found.
	Report *checker.Report
	// Kept is where history, log and data are if something was found.
	Kept string
}

// run is a run.
type run struct {
	config  Config
	server  *server
	proxy   *proxy
	nemesis *nemesis
	disk    *powerloss.Disk // nil: power cannot be lost
}

// diskBytes is the size of the disk that can lose power. The broker refuses writes
// below 64 MiB of free space.
const diskBytes = 1 << 30

// Run plays rounds until something is found or it was long enough. An error says
// that it could not be run.
func Run(ctx context.Context, config Config) (result Result, err error) {
	began := time.Now()
	run, err := begin(config)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, run.end()) }()
	rng := rand.New(rand.NewPCG(config.Seed, 1))
	for (config.Rounds == 0 || result.Rounds < config.Rounds) && (config.Duration == 0 || time.Since(began) < config.Duration) && ctx.Err() == nil {
		kills := config.Kills
		if kills == 0 {
			kills = 3 + rng.IntN(6)
		}
		result.Rounds++
		config.Log("round %d, %v", result.Rounds, time.Since(began).Round(time.Second))
		report, history, err := run.playRound(ctx, result.Rounds, kills)
		if err != nil {
			return result, fmt.Errorf("round %d: %w", result.Rounds, err)
		}
		result.Report, result.Kills, result.PowerLosses = report, run.nemesis.kills, run.nemesis.losses
		result.Committed += report.Committed
		config.Log("round %d: %s", result.Rounds, report)
		if !report.OK() {
			result.Kept, err = run.keep(result.Rounds, report, history)
			return result, err
		}
		if err := run.server.log.Truncate(0); err != nil {
			return result, err
		}
	}
	return result, nil
}

func begin(config Config) (*run, error) {
	log, err := os.OpenFile(filepath.Join(config.Dir, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	proxy, err := newProxy(config.Seed)
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	s := &server{
		binary: config.Binary, env: config.Env, data: filepath.Join(config.Dir, "data"),
		address: "127.0.0.1:0", advertise: proxy.address(), log: log, died: func(error) {},
	}
	run := &run{config: config, server: s, proxy: proxy}
	if err := run.mount(); err != nil {
		return nil, errors.Join(err, run.end())
	}
	run.nemesis = &nemesis{disk: run.disk, rng: rand.New(rand.NewPCG(config.Seed, 2)), server: s, proxy: proxy, log: config.Log}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, run.end())
	}
	proxy.set(s.address, plan{})
	return run, nil
}

// mount puts the data on a disk that can lose power.
func (run *run) mount() error {
	if !run.config.PowerLoss {
		return nil
	}
	if err := powerloss.Available(); err != nil {
		run.config.Log("SKIPPED: no power loss can be made here: %v", err)
		return nil
	}
	disk, err := powerloss.Mount(run.config.Dir, diskBytes)
	if err != nil {
		return err
	}
	run.disk = disk
	run.server.data = filepath.Join(disk.Path(), "data")
	return nil
}

func (run *run) end() error {
	err := run.server.end(syscall.SIGTERM)
	run.proxy.close()
	if run.disk != nil {
		err = errors.Join(err, run.disk.Close())
	}
	return errors.Join(err, run.server.log.Close())
}

// keep ends the server as it is, and leaves the history beside its data. What is
// on a disk of its own is copied.
func (run *run) keep(number int, report *checker.Report, history []checker.Op) (string, error) {
	err := run.server.end(syscall.SIGKILL)
	f, err2 := os.Create(filepath.Join(run.config.Dir, fmt.Sprintf("history.%d.jsonl", number)))
	if err2 != nil {
		return "", errors.Join(err, err2)
	}
	err3 := checker.Write(f, history)
	err4 := os.WriteFile(filepath.Join(run.config.Dir, "report.txt"), []byte(report.String()+"\n"), 0o600)
	if run.disk != nil {
		err = errors.Join(err, copyFiles(filepath.Join(run.config.Dir, "data"), run.server.data))
	}
	return run.config.Dir, errors.Join(err, err3, err4, f.Close())
}

// copyFiles copies the regular files of a tree.
func copyFiles(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o600)
	})
}

// secondReader reads with a client of another kind, if there is one.
func (run *run) secondReader(ctx context.Context, r *recorder, topics []string) {
	if _, err := exec.LookPath("kcat"); err != nil {
		run.config.Log("  SKIPPED: reading with a second client needs kcat; make deps installs it")
		return
	}
	drainKcat(ctx, r, run.proxy.address(), topics...)
}
