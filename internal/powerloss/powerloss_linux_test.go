package powerloss

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// disk mounts a small file system for a test.
func disk(t *testing.T) *Disk {
	t.Helper()
	if os.Getenv("LEVADA_E2E") == "" {
		t.Skip("mounts file systems: run it with make e2e")
	}
	if err := Available(); err != nil {
		t.Skip(err)
	}
	d, err := Mount(t.TempDir(), 32<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write writes a file, and syncs it and its directory.
func write(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	syncDir(t, filepath.Dir(path))
}

func syncDir(t *testing.T, path string) {
	t.Helper()
	d, err := os.Open(path)
	must(t, err)
	must(t, d.Sync())
	must(t, d.Close())
}

func TestWhatWasNotSyncedIsGone(t *testing.T) {
	t.Parallel()
	d := disk(t)
	at := func(name string) string { return filepath.Join(d.Path(), name) }
	write(t, at("synced"), "stays")
	write(t, at("tail"), "stays")
	write(t, at("old name"), "stays")
	tail, err := os.OpenFile(at("tail"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = tail.Write(bytes.Repeat([]byte("x"), 100_000))
	must(t, err)
	must(t, os.WriteFile(at("new"), []byte("goes"), 0o600))
	must(t, os.Rename(at("old name"), at("new name")))

	must(t, d.Cut())
	_, writeErr := tail.WriteString("late")
	for what, err := range map[string]error{
		"a write": errors.Join(writeErr, tail.Sync()), "a sync": tail.Sync(), "a new file": os.WriteFile(at("late"), nil, 0o600),
	} {
		if !errors.Is(err, unix.EIO) {
			t.Errorf("%s after the cut: %v, want EIO", what, err)
		}
	}
	tail.Close()
	must(t, d.Remount())

	var names []string
	entries, err := os.ReadDir(d.Path())
	must(t, err)
	for _, e := range entries {
		if e.IsDir() {
			continue // lost+found
		}
		names = append(names, e.Name())
		text, err := os.ReadFile(at(e.Name()))
		must(t, err)
		if string(text) != "stays" {
			t.Errorf("%s holds %d bytes", e.Name(), len(text))
		}
	}
	if want := []string{"old name", "synced", "tail"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	write(t, at("again"), "works")
}

func TestASyncedRenameStays(t *testing.T) {
	t.Parallel()
	d := disk(t)
	for n := range 3 {
		write(t, filepath.Join(d.Path(), "new"), strings.Repeat("x", n+1))
		must(t, os.Rename(filepath.Join(d.Path(), "new"), filepath.Join(d.Path(), "name")))
		syncDir(t, d.Path())
		must(t, d.Cut())
		must(t, d.Remount())
		text, err := os.ReadFile(filepath.Join(d.Path(), "name"))
		must(t, err)
		if len(text) != n+1 {
			t.Errorf("round %d: %d bytes", n, len(text))
		}
	}
}

func TestClosingLeavesNothing(t *testing.T) {
	t.Parallel()
	d := disk(t)
	open, err := os.Create(filepath.Join(d.Path(), "open"))
	must(t, err)
	if err := d.Remount(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("remount with an open file: %v, want EBUSY", err)
	}
	must(t, d.Close())
	must(t, d.Close())
	must(t, open.Close())
	mounts, err := os.ReadFile("/proc/self/mounts")
	must(t, err)
	if strings.Contains(string(mounts), d.Path()) {
		t.Error("it is still mounted")
	}
	if _, err := os.Stat(d.image); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its file: %v", err)
	}
}

func TestAbandoned(t *testing.T) {
	mounts := "/dev/vda / ext4 rw 0 0\n/dev/loop0 /tmp/a/powerloss-12-3 ext4 rw 0 0\n/dev/loop1 /tmp/a/powerloss-13-3 ext4 rw 0 0\ntmpfs /tmp/powerloss-12-4 tmpfs rw 0 0\n"
	got := abandoned(mounts, func(pid int) bool { return pid == 13 })
	if want := []string{"/tmp/a/powerloss-12-3"}; !slices.Equal(got, want) {
		t.Errorf("abandoned %q, want %q", got, want)
	}
}
