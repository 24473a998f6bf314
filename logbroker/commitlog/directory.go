package commitlog

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	logSuffix       = ".log"
	indexSuffix     = ".index"
	timeIndexSuffix = ".timeindex"
	sealSuffix      = ".seal"
	cutSuffix       = ".cut"      // a copy that is not finished
	compactSuffix   = ".compact"  // a compacted segment that is not in its place
	snapshotSuffix  = ".snapshot" // is part of a checkpoint now
	checkpointFile  = "levada-checkpoint"
	nextCheckpoint  = checkpointFile + ".next" + cutSuffix
	markFile        = "levada-synced"
	swapFile        = "levada-swap"
)

func offsetName(offset int64, suffix string) string { return fmt.Sprintf("%020d%s", offset, suffix) }
func logName(base int64) string                     { return offsetName(base, logSuffix) }
func indexName(base int64) string                   { return offsetName(base, indexSuffix) }
func timeIndexName(base int64) string               { return offsetName(base, timeIndexSuffix) }
func sealName(base int64) string                    { return offsetName(base, sealSuffix) }

func sumsOf(offsets, times []byte) indexSums {
	return indexSums{crc32.Checksum(offsets, castagnoli), crc32.Checksum(times, castagnoli)}
}

// directory is the place of one log's files.
type directory struct {
	fs   vfs.FS
	path string
}

func (d *directory) join(name string) string { return d.fs.PathJoin(d.path, name) }

// listing is what a directory holds, ascending.
type listing struct {
	segments  []int64
	leftovers []string // of what was interrupted, and of older programs
}

func (d *directory) list() (listing, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return listing{}, fmt.Errorf("commitlog: %w", err)
	}
	var l listing
	for _, name := range names {
		if strings.HasSuffix(name, cutSuffix) || strings.HasSuffix(name, compactSuffix) || strings.HasSuffix(name, snapshotSuffix) {
			l.leftovers = append(l.leftovers, name)
		}
		digits, suffix, ok := strings.Cut(name, ".")
		if !ok || len(digits) != 20 {
			continue
		}
		offset, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || offset < 0 {
			continue
		}
		if "."+suffix == logSuffix {
			l.segments = append(l.segments, offset)
		}
	}
	slices.Sort(l.segments)
	return l, nil
}

// sync makes new names and renames durable.
func (d *directory) sync() error {
	f, err := d.fs.OpenDir(d.path)
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *directory) readFile(name string, limit int64) (data []byte, err error) {
	f, err := d.fs.Open(d.join(name))
	if err != nil {
		return nil, fmt.Errorf("commitlog: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("commitlog: %s: %w", name, err)
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("commitlog: %s has %d bytes, more than %d", name, info.Size(), limit)
	}
	data = make([]byte, info.Size())
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("commitlog: %s: %w", name, err)
	}
	return data, nil
}

// writeFile replaces a file. Whoever reads it must be able to tell whether it
// is whole. The bytes belong to the file system from then on, which may change
// them (vfs.File.Write).
func (d *directory) writeFile(name string, data []byte, synced bool) error {
	f, err := d.fs.Create(d.join(name), writeCategory)
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	_, err = f.Write(data)
	if err == nil && synced {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("commitlog: %s: %w", name, err)
	}
	return nil
}

// extendFile appends to a file of so many bytes; of none it makes a new one.
func (d *directory) extendFile(name string, data []byte, have int) error {
	switch {
	case have == 0:
		return d.writeFile(name, data, false)
	case len(data) == 0:
		return nil
	}
	return d.writeAt(name, data, int64(have))
}

// writeAt writes into a file that is there. It is not synced.
func (d *directory) writeAt(name string, data []byte, at int64) error {
	f, err := d.fs.OpenReadWrite(d.join(name), writeCategory)
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	_, err = f.WriteAt(data, at)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("commitlog: %s: %w", name, err)
	}
	return nil
}

// syncFile makes durable what was written to a file, though not its name.
func (d *directory) syncFile(name string) error {
	f, err := d.fs.Open(d.join(name))
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("commitlog: %s: %w", name, err)
	}
	return nil
}

// replaceFile replaces a file so that it is whole, the old or the new one,
// after any crash.
func (d *directory) replaceFile(name string, data []byte) error {
	if err := d.writeFile(name+cutSuffix, data, true); err != nil {
		return err
	}
	if err := d.rename(name+cutSuffix, name); err != nil {
		return err
	}
	return d.sync()
}

func (d *directory) rename(from, to string) error {
	if err := d.fs.Rename(d.join(from), d.join(to)); err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	return nil
}

// copyPrefix replaces a file by a synced copy of its first bytes. A crash
// leaves the file as it was, or the copy; which of them is open until the
// caller syncs the directory.
func (d *directory) copyPrefix(name string, sizeBytes int64) error {
	if err := d.copyAs(name, name+cutSuffix, sizeBytes); err != nil {
		return err
	}
	return d.rename(name+cutSuffix, name)
}

// copyAs makes a synced copy of a file's first bytes under another name.
func (d *directory) copyAs(name, as string, sizeBytes int64) (err error) {
	from, err := d.fs.Open(d.join(name))
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := d.fs.Create(d.join(as), writeCategory)
	if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	buf := make([]byte, min(max(sizeBytes, 1), 1<<20))
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, io.NewSectionReader(from, 0, sizeBytes), buf)
	if err == nil && n < sizeBytes {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return fmt.Errorf("commitlog: copy of %s: %w", name, err)
	}
	return nil
}

// remove removes a file that may be missing.
func (d *directory) remove(name string) error {
	if err := d.fs.Remove(d.join(name)); err != nil && !isNotExist(err) {
		return fmt.Errorf("commitlog: %w", err)
	}
	return nil
}
