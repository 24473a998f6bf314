package logbroker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// What lies in a data directory.
const (
	formatFile  = "format"  // formatLine
	lockFile    = "lock"    // held while a broker runs
	pidFile     = "pid"     // who holds it, for the message
	suspectFile = "suspect" // a sync failed: what is in the page cache cannot be trusted
	metaDir     = "meta"    // the database
	logsDir     = "logs"    // topic-partition/ directories
	deletedDir  = "deleted" // those of deleted topics, on their way out
)

const formatLine = "levada broker data, version 1\n"

// dataDir is the data directory of one broker.
type dataDir struct {
	fs   vfs.FS
	path string
	lock io.Closer
}

// openDataDir creates the directory if need be, takes its lock, and checks
// that its format is the one this program writes.
func openDataDir(fs vfs.FS, path string) (*dataDir, error) {
	d := &dataDir{fs: fs, path: path}
	if err := fs.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	lock, err := fs.Lock(d.join(lockFile))
	if err != nil {
		holder := "another process"
		if pid, readErr := d.read(pidFile); readErr == nil && pid != "" {
			holder = "process " + strings.TrimSpace(pid)
		}
		return nil, fmt.Errorf("data directory %s is in use by %s: stop it first, or name another directory: %w", path, holder, err)
	}
	d.lock = lock
	if err := d.prepare(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

func (d *dataDir) prepare() error {
	if err := d.replace(pidFile, strconv.Itoa(os.Getpid())+"\n"); err != nil {
		return err
	}
	format, err := d.read(formatFile)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("data directory %s: %w", d.path, err)
	case err == nil && format != formatLine:
		return fmt.Errorf("data directory %s has format %q, this program reads %q: use the program that wrote it",
			d.path, strings.TrimSpace(format), strings.TrimSpace(formatLine))
	case err != nil:
		if _, err := d.fs.Stat(d.join(metaDir)); err == nil {
			return fmt.Errorf("data directory %s has no file %q but holds a database: restore the file or name another directory", d.path, formatFile)
		}
	}
	for _, sub := range []string{logsDir, deletedDir} {
		if err := d.fs.MkdirAll(d.join(sub), 0o755); err != nil {
			return fmt.Errorf("data directory %s: %w", d.path, err)
		}
	}
	if format == "" {
		if err := d.replace(formatFile, formatLine); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(d.fs, d.path), syncDir(d.fs, d.fs.PathDir(d.path)))
}

func (d *dataDir) join(elem ...string) string {
	return d.fs.PathJoin(append([]string{d.path}, elem...)...)
}

func (d *dataDir) read(name string) (string, error) {
	f, err := d.fs.Open(d.join(name))
	if err != nil {
		return "", err
	}
	p, err := io.ReadAll(io.LimitReader(f, 4096))
	return string(p), errors.Join(err, f.Close())
}

// replace writes a small file so that after a crash it is the old or the new.
func (d *dataDir) replace(name, content string) error {
	tmp := d.join(name + ".tmp")
	f, err := d.fs.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", d.path, err)
	}
	_, err = f.Write([]byte(content))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.fs.Rename(tmp, d.join(name))
	}
	if err == nil {
		err = syncDir(d.fs, d.path)
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %s: %w", d.path, name, err)
	}
	return nil
}

// isSuspect tells whether a sync failed in an earlier run.
func (d *dataDir) isSuspect() bool {
	_, err := d.fs.Stat(d.join(suspectFile))
	return err == nil
}

// markSuspect leaves the mark that makes the next start trust only what it
// can read back from the disk.
func (d *dataDir) markSuspect(cause error) error {
	return d.replace(suspectFile, cause.Error()+"\n")
}

func (d *dataDir) clearSuspect() error {
	if err := d.fs.Remove(d.join(suspectFile)); err != nil {
		return fmt.Errorf("data directory %s: %w", d.path, err)
	}
	return syncDir(d.fs, d.path)
}

func (d *dataDir) close() error { return d.lock.Close() }

func syncDir(fs vfs.FS, path string) error {
	dir, err := fs.OpenDir(path)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// bootID names the life of the page cache that holds dir: the kernel's boot
// id and the id of the mount. Either changes when unsynced data was lost.
func bootID(dir string) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte("unknown")
	}
	var st unix.Statx_t
	mount := uint64(0)
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &st); err == nil && st.Mask&unix.STATX_MNT_ID != 0 {
		mount = st.Mnt_id
	}
	return fmt.Sprintf("%s/%d", strings.TrimSpace(string(boot)), mount)
}
