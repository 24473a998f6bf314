package logbroker

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/levada/levada/internal/datadir"
)

// What lies in a data directory, beside the lock and the format.
const (
	suspectFile = "suspect" // a sync failed: what is in the page cache cannot be trusted
	metaDir     = "meta"    // the database
	logsDir     = "logs"    // topic-partition/ directories
	deletedDir  = "deleted" // those of deleted topics, on their way out
)

const dataFormat = "levada broker data, version 1"

// dataDir is the data directory of one broker, whose lock is held.
type dataDir struct{ *datadir.Dir }

// openDataDir creates the directory if need be, takes its lock, and checks
// that its format is the one this program writes.
func openDataDir(fs vfs.FS, path string) (*dataDir, error) {
	_, formatErr := fs.Stat(fs.PathJoin(path, datadir.FormatFile))
	_, metaErr := fs.Stat(fs.PathJoin(path, metaDir))
	if errors.Is(formatErr, os.ErrNotExist) && metaErr == nil {
		return nil, fmt.Errorf("directory %s has no file %q but holds a database: %w: restore the file, or name another directory", path, datadir.FormatFile, datadir.ErrFormat)
	}
	dir, err := datadir.Open(fs, path, dataFormat)
	if err != nil {
		return nil, err
	}
	for _, sub := range []string{metaDir, logsDir, deletedDir} {
		if err := fs.MkdirAll(dir.Join(sub), 0o700); err != nil {
			return nil, errors.Join(fmt.Errorf("directory %s: %w", path, err), dir.Close())
		}
	}
	if err := datadir.SyncDir(fs, path); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &dataDir{dir}, nil
}

// isSuspect tells whether a sync failed in an earlier run.
func (d *dataDir) isSuspect() bool { return d.Has(suspectFile) }

// markSuspect leaves the mark that makes the next start trust only what it
// can read back from the disk.
func (d *dataDir) markSuspect(cause error) error { return d.Replace(suspectFile, cause.Error()) }

func (d *dataDir) clearSuspect() error { return d.Remove(suspectFile) }

// mountIDs asks for the id of a mount that is never given to another (Linux 6.8
// and later), or else for one that is free again once it is unmounted.
const mountIDs = unix.STATX_MNT_ID_UNIQUE | unix.STATX_MNT_ID

// bootID names the life of the page cache that holds dir: the kernel's boot
// id and the id of the mount. Either changes when unsynced data was lost. (Where
// ids of mounts are used again, a file system that was taken away and mounted
// again while the kernel ran on is not noticed.)
func bootID(dir string) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte("unknown")
	}
	var st unix.Statx_t
	mount := uint64(0)
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, mountIDs, &st); err == nil && st.Mask&mountIDs != 0 {
		mount = st.Mnt_id
	}
	return fmt.Sprintf("%s/%d", strings.TrimSpace(string(boot)), mount)
}
