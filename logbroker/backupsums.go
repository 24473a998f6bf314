package logbroker

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/datadir"
)

// sumsFile is where a backup keeps the sums of the files of its database. The
// records of logs have sums of their own; a database takes the end of its log for
// torn where a byte of it was changed, and would start without the rows after it.
const sumsFile = "sums"

// CheckBackup tells what has changed in the database of a backup since it was made.
// The logs are not looked at: commitlog.Inspector does that.
func CheckBackup(fs vfs.FS, dir string) error {
	said, err := readWhole(fs, fs.PathJoin(dir, sumsFile))
	if err != nil {
		return fmt.Errorf("%s is no whole backup: %w", dir, err)
	}
	found, err := sums(fs, fs.PathJoin(dir, metaDir))
	if err != nil {
		return fmt.Errorf("backup %s: %w", dir, err)
	}
	var changed []string
	lines := func(p []byte) [][]byte { return bytes.SplitAfter(p, []byte("\n")) }
	for _, line := range lines(said) {
		if !slices.ContainsFunc(lines(found), func(other []byte) bool { return bytes.Equal(line, other) }) {
			changed = append(changed, fmt.Sprintf("%q", bytes.TrimSuffix(line, []byte("\n"))))
		}
	}
	if len(changed) > 0 || len(said) != len(found) {
		return fmt.Errorf("backup %s: its database is not as it was when it was made: of %s, %d lines do not agree %v", dir, sumsFile, len(changed), changed)
	}
	return nil
}

// ForgetBackup makes a backup a data directory like any other: it may change.
func ForgetBackup(fs vfs.FS, dir string) error {
	if err := fs.Remove(fs.PathJoin(dir, sumsFile)); err != nil {
		return err
	}
	return datadir.SyncDir(fs, dir)
}

// sums has a line for every file of a directory: sum, size, name.
func sums(fs vfs.FS, dir string) ([]byte, error) {
	names, err := fs.List(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out bytes.Buffer
	for _, name := range names {
		p, err := readWhole(fs, fs.PathJoin(dir, name))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%08x %d %s\n", crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)), len(p), name)
	}
	return out.Bytes(), nil
}

func readWhole(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(f)
	return p, errors.Join(err, f.Close())
}

// writeSums is called when the files of the backup will not change any more.
func (k *backup) writeSums() error {
	p, err := sums(k.b.gate, k.path(metaDir))
	if err != nil {
		return err
	}
	f, err := k.b.gate.Create(k.path(sumsFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	return errors.Join(err, f.Close())
}
