package meta

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writeRows opens a database and commits rows to it, each synced, some of them larger
// than a block of the log.
func writeRows(t *testing.T, fs vfs.FS, from, to int) *Store {
	t.Helper()
	s := openMem(t, fs)
	for i := from; i < to; i++ {
		size := 20
		if i%10 == 9 {
			size = 40 << 10
		}
		commit(t, s, func(b *Batch) { b.PutSystem(fmt.Sprint("row ", i), make([]byte, size)) })
	}
	return s
}

// countRows is how many rows of writeRows a check or a start finds, or the error.
func countRows(t *testing.T, fs vfs.FS, rows int) (n int, err error) {
	t.Helper()
	s, err := Open(Config{FS: fs, Dir: "meta", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return 0, err
	}
	for i := range rows {
		if v, err := s.System(fmt.Sprint("row ", i)); err == nil && v != nil {
			n++
		}
	}
	return n, s.Close()
}

// checkFlips changes bytes of a file of a database: each change is told by a check and
// by a start, or is harmless, as all rows are there.
func checkFlips(t *testing.T, state *vfs.MemFS, path string, rows int, each func(size int) []int) {
	t.Helper()
	whole := contents(t, state, path)
	told := 0
	for _, at := range each(len(whole)) {
		for _, bits := range []byte{1 << (at % 8), 0xff} {
			fs := state.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
			change := append([]byte(nil), whole...)
			change[at] ^= bits
			put(t, fs, path, change)
			if checkTails(fs, "meta") != nil {
				if told++; told%50 != 1 {
					continue // as a check and a start would be told
				}
			}
			c, err := Check(fs, "meta")
			n, startErr := countRows(t, fs, rows)
			if harmless := err == nil && startErr == nil && c.Rows == rows && n == rows; !harmless && (err == nil || startErr == nil) {
				t.Fatalf("%s, byte %d ^ %#x: the check tells %v of %d rows, the start %v of %d", path, at, bits, err, c.Rows, startErr, n)
			}
			damage := (*DamageError)(nil)
			for _, err := range []error{err, startErr} {
				if errors.As(err, &damage) && !strings.Contains(err.Error(), path) {
					t.Fatalf("%s is damaged, and it says %v", path, err)
				}
			}
		}
	}
	if told == 0 {
		t.Errorf("%s: nothing is told", path)
	}
}

// newestFile is the path of the newest file of a kind.
func newestFile(t *testing.T, fs vfs.FS, isIt func(string) bool) string {
	t.Helper()
	names, err := fs.List("meta")
	if err != nil {
		t.Fatal(err)
	}
	newest := ""
	for _, name := range names {
		if isIt(name) {
			newest = max(newest, name)
		}
	}
	if newest == "" {
		t.Fatal("there is no such file")
	}
	return fs.PathJoin("meta", newest)
}

func isLogFile(name string) bool  { return strings.HasSuffix(name, ".log") }
func isManifest(name string) bool { return strings.HasPrefix(name, "MANIFEST-") }

func everyByte(size int) []int { return every(size, 1) }

func every(size, step int) (out []int) {
	for at := 0; at < size; at += step {
		out = append(out, at)
	}
	return out
}

// TestFlipsInTheLog flips every byte of a log, the last ones too: after an orderly end
// and after a SIGKILL, in the first run of a database, and in later ones, whose log has
// another format.
func TestFlipsInTheLog(t *testing.T) {
	for _, runs := range []int{1, 2} {
		for _, killed := range []bool{false, true} {
			fs := vfs.NewCrashableMem()
			for run := range runs - 1 {
				if err := writeRows(t, fs, run, run+1).Close(); err != nil {
					t.Fatal(err)
				}
			}
			rows := 9
			s := writeRows(t, fs, runs-1, rows)
			state := fs
			if killed {
				state = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			checkFlips(t, state, newestFile(t, state, isLogFile), rows, everyByte)
		}
	}
}

// TestFlipsInALargeLog flips bytes where a row lies in several blocks.
func TestFlipsInALargeLog(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := writeRows(t, fs, 0, 25).Close(); err != nil {
		t.Fatal(err)
	}
	checkFlips(t, fs, newestFile(t, fs, isLogFile), 25, func(size int) []int {
		out := every(size, 997)
		for at := blockSize; at < size; at += blockSize {
			for near := at - 30; near < min(at+30, size); near++ {
				out = append(out, near)
			}
		}
		return out
	})
}

// TestFlipsInTheManifest: an edit that is lost there loses a table.
func TestFlipsInTheManifest(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := writeRows(t, fs, 0, 5)
	for i := range 3 {
		commit(t, s, func(b *Batch) { b.PutSystem(fmt.Sprint("row ", 5+i), []byte("v")) })
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkFlips(t, fs, newestFile(t, fs, isManifest), 8, everyByte)
}

// TestDamageWithoutAMark: what a power loss leaves of the mark may be old. What the log
// says of itself tells of damage before its last rows then.
func TestDamageWithoutAMark(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := writeRows(t, fs, 0, 1).Close(); err != nil {
		t.Fatal(err)
	}
	if err := writeRows(t, fs, 1, 9).Close(); err != nil {
		t.Fatal(err)
	}
	if err := fs.Remove("meta/" + markFile); err != nil {
		t.Fatal(err)
	}
	size := len(contents(t, fs, newestFile(t, fs, isLogFile)))
	checkFlips(t, fs, newestFile(t, fs, isLogFile), 9, func(int) []int { return every(size/2, 1) })
}

// TestRemovedLogIsNoticed: the newest log has rows that are nowhere else.
func TestRemovedLogIsNoticed(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := writeRows(t, fs, 0, 3).Close(); err != nil {
		t.Fatal(err)
	}
	path := newestFile(t, fs, isLogFile)
	whole := contents(t, fs, path)
	for _, size := range []int{-1, 0, 1, len(whole) / 2, len(whole) - 12} {
		if err := fs.Remove(path); err != nil {
			t.Fatal(err)
		}
		if size >= 0 {
			put(t, fs, path, whole[:size])
		}
		damage := (*DamageError)(nil)
		if _, err := Check(fs, "meta"); !errors.As(err, &damage) {
			t.Errorf("%d bytes: the check says %v", size, err)
		}
		if _, err := countRows(t, fs, 3); !errors.As(err, &damage) || !strings.Contains(err.Error(), path) {
			t.Errorf("%d bytes: the start says %v", size, err)
		}
		put(t, fs, path, whole)
	}
	if n, err := countRows(t, fs, 3); n != 3 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
}

// TestTornTailsAreNoDamage lets the power fail, again and again, while a database is
// written with and without syncs, flushed and opened, with any part of what was not
// synced lost: it can be opened, has what was synced, and a check finds nothing.
func TestTornTailsAreNoDamage(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		fs := vfs.NewCrashableMem()
		synced, rows := 0, 0
		for range 6 {
			s := openMem(t, fs)
			var crashed *vfs.MemFS
			for range rng.IntN(30) {
				if rng.IntN(8) == 0 {
					if err := s.db.Flush(); err != nil {
						t.Fatal(err)
					}
					synced = rows
				}
				b := s.NewBatch()
				b.PutSystem(fmt.Sprint("row ", rows), make([]byte, rng.IntN(1<<rng.IntN(17))))
				rows++
				sync := rng.IntN(3) == 0
				if err := s.Commit(b, sync); err != nil {
					t.Fatal(err)
				}
				if sync {
					synced = rows
				}
			}
			crashed = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 25 * rng.IntN(5), RNG: rng})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(4) == 0 {
				crashed, synced = fs, rows
			}
			fs = crashed
			if _, err := Check(fs, "meta"); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			n, err := countRows(t, fs, rows)
			if err != nil || n < synced {
				t.Fatalf("seed %d: %d rows, want %d, %v", seed, n, synced, err)
			}
			rows, synced = n, n
		}
	}
}
