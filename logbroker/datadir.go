package logbroker

import (
	"errors"
	"fmt"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/datadir"
)

// What lies in a data directory, beside the lock and the format.
const (
	suspectFile = "suspect" // a sync failed: what is in the page cache cannot be trusted
	metaDir     = "meta"    // the database
	logsDir     = "logs"    // topic-partition/ directories
	deletedDir  = "deleted" // those of deleted topics, on their way out
)

// DataFormat is what the file format of a data directory says.
const DataFormat = "levada broker data, version 1"

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
	dir, err := datadir.Open(fs, path, DataFormat)
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
