package meta

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestCheckOfDamagedFiles changes bytes everywhere in a database that is in use by nobody,
// and takes every file away: a check returns, and does not say that it is in use,
// whatever the path is called. Damage of a table or of the manifest is an error.
func TestCheckOfDamagedFiles(t *testing.T) {
	const dir = "locked"
	fs := vfs.NewMem()
	s, err := Open(Config{FS: fs, Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, fillExamples)
	if err := errors.Join(s.db.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	vital := 0
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		whole := contents(t, fs, path)
		check := func(what string, must bool) {
			t.Helper()
			_, err := Check(fs, dir)
			if errors.Is(err, ErrInUse) || must && err == nil {
				t.Fatalf("%s %s: %v", name, what, err)
			}
		}
		table := strings.HasSuffix(name, ".sst")
		for i := 0; i < len(whole); i += 7 {
			change := append([]byte(nil), whole...)
			change[i] ^= 0x41
			put(t, fs, path, change)
			check("is changed", false)
		}
		if table {
			vital++
			put(t, fs, path, make([]byte, len(whole)))
			check("is of zeros", true)
		}
		if err := fs.Remove(path); err != nil {
			t.Fatal(err)
		}
		check("is missing", table || strings.HasPrefix(name, "MANIFEST-"))
		put(t, fs, path, whole)
	}
	if vital == 0 {
		t.Error("the database has no table")
	}
	if _, err := Check(fs, dir); err != nil {
		t.Error(err)
	}
}

// readOnlyFS is a file system that is mounted for reading.
type readOnlyFS struct{ vfs.FS }

func (readOnlyFS) Lock(string) (io.Closer, error) { return nil, syscall.EROFS }

// A database on a file system that nobody can write to is checked.
func TestCheckWithoutWriting(t *testing.T) {
	fs := vfs.NewMem()
	s := openMem(t, fs)
	commit(t, s, fillExamples)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err := Check(readOnlyFS{fs}, "meta"); err != nil || c.Rows < 8 {
		t.Errorf("%d rows, %v", c.Rows, err)
	}
}

func contents(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func put(t *testing.T, fs vfs.FS, path string, p []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(slices.Clone(p)); err != nil { // a file system may write over what it is given
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
