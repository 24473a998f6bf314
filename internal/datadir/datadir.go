// Package datadir is a directory that one process owns: it takes its lock and
// tells who holds it otherwise, refuses a format that it does not know, and
// replaces small files so that after a crash they are the old or the new.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Files of every directory.
const (
	lockFile = "lock" // held while a process uses the directory
	pidFile  = "pid"  // who holds it, for the message
	// FormatFile holds one line: what the directory holds, and its version.
	FormatFile = "format"
)

// Errors of Open.
var (
	// ErrHeld: another process uses the directory.
	ErrHeld = errors.New("it is locked")
	// ErrFormat: the directory holds something else, or another version of it.
	ErrFormat = errors.New("its format is another")
)

// maxSmallFile bounds what Read reads.
const maxSmallFile = 4096

// Dir is a directory whose lock is held. Its methods may be called by one
// goroutine at a time.
type Dir struct {
	fs   vfs.FS
	path string
	lock io.Closer
}

// Open creates the directory if need be, takes its lock, and checks that its
// format is the one given, for example "levada state, version 1".
func Open(fs vfs.FS, path, format string) (*Dir, error) {
	if err := fs.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("directory %s: %w", path, err)
	}
	d := &Dir{fs: fs, path: path}
	lock, err := fs.Lock(d.Join(lockFile))
	if err != nil && !IsHeld(err) {
		return nil, fmt.Errorf("directory %s: its lock cannot be taken: %w", path, err)
	}
	if err != nil {
		holder := "another process"
		if pid, readErr := d.Read(pidFile); readErr == nil && pid != "" {
			holder = "process " + pid
		}
		return nil, fmt.Errorf("directory %s is in use by %s: stop it first, or name another directory: %w: %w", path, holder, ErrHeld, err)
	}
	d.lock = lock
	if err := d.claim(format); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// IsHeld tells whether an error of vfs.FS.Lock says that somebody has the lock: another
// process (fcntl(2)), or this one.
func IsHeld(err error) bool {
	var file *fs.PathError // that could not be made
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && !errors.As(err, &file) || strings.Contains(err.Error(), "lock held by")
}

// claim writes the pid and checks or writes the format.
func (d *Dir) claim(format string) error {
	have, err := d.Read(FormatFile)
	switch {
	case err == nil && have != format:
		return fmt.Errorf("directory %s holds %q, this program reads %q: use the program that wrote it, or name another directory: %w", d.path, have, format, ErrFormat)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("directory %s: %w", d.path, err)
	case err != nil:
		if err := d.Replace(FormatFile, format); err != nil {
			return err
		}
		if err := SyncDir(d.fs, d.fs.PathDir(d.path)); err != nil {
			return err
		}
	}
	return d.Replace(pidFile, strconv.Itoa(os.Getpid()))
}

// Join is the path of something in the directory.
func (d *Dir) Join(elem ...string) string {
	return d.fs.PathJoin(append([]string{d.path}, elem...)...)
}

// Read reads a small file, without the space around its content.
func (d *Dir) Read(name string) (string, error) {
	f, err := d.fs.Open(d.Join(name))
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSmallFile))
	return strings.TrimSpace(string(b)), errors.Join(err, f.Close())
}

// Replace writes a small file durably: after a crash it is the old or the new.
func (d *Dir) Replace(name, content string) error {
	tmp := d.Join(name + ".tmp")
	f, err := d.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("directory %s: %w", d.path, err)
	}
	_, err = f.Write([]byte(content + "\n"))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.fs.Rename(tmp, d.Join(name))
	}
	if err == nil {
		err = SyncDir(d.fs, d.path)
	}
	if err != nil {
		return fmt.Errorf("directory %s: %s: %w", d.path, name, err)
	}
	return nil
}

// Has tells whether something of that name is there.
func (d *Dir) Has(name string) bool {
	_, err := d.fs.Stat(d.Join(name))
	return err == nil
}

// Remove deletes a file durably.
func (d *Dir) Remove(name string) error {
	if err := d.fs.Remove(d.Join(name)); err != nil {
		return fmt.Errorf("directory %s: %w", d.path, err)
	}
	return SyncDir(d.fs, d.path)
}

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }

// SyncDir makes the names in a directory durable.
func SyncDir(fs vfs.FS, path string) error {
	dir, err := fs.OpenDir(path)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}
