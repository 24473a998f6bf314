package logbroker

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/datadir"
	"github.com/levada/levada/logbroker/commitlog"
)

// sumsFile is where a backup keeps what it holds: the size and the sum of every file.
// Logs have sums of their own, but those do not tell of a file that is missing, nor of
// a partition that has another's place; and a database takes the end of its log for
// torn where a byte of it was changed, and would start without the rows after it.
const sumsFile = "sums"

// CheckBackup tells what has changed in a backup since it was made: files that are
// missing, foreign or different. Of a sealed segment it compares the seal only:
// commitlog.Inspector holds the segment against that.
func CheckBackup(fs vfs.FS, dir string) error {
	said, err := readWhole(fs, fs.PathJoin(dir, sumsFile))
	if err != nil {
		return fmt.Errorf("%s is no whole backup: %w", dir, err)
	}
	found, err := sums(fs, dir)
	if err != nil {
		return fmt.Errorf("backup %s: %w", dir, err)
	}
	if bytes.Equal(said, found) {
		return nil
	}
	return fmt.Errorf("backup %s: it is not as it was when it was made: missing or different %v, foreign or different %v", dir, lacking(said, found), lacking(found, said))
}

// maxNamed bounds how many files an error names.
const maxNamed = 10

// lacking are the lines of one text that the other has not.
func lacking(of, other []byte) (out []string) {
	has := map[string]bool{}
	for line := range bytes.Lines(other) {
		has[string(line)] = true
	}
	for line := range bytes.Lines(of) {
		if !has[string(line)] && len(out) < maxNamed {
			out = append(out, string(bytes.TrimSuffix(line, []byte("\n"))))
		}
	}
	return out
}

// ForgetBackup makes a backup a data directory like any other: it may change.
func ForgetBackup(fs vfs.FS, dir string) error {
	if err := fs.Remove(fs.PathJoin(dir, sumsFile)); err != nil {
		return err
	}
	return datadir.SyncDir(fs, dir)
}

// sums has a line for every file of a backup but this one: sum, size, path.
func sums(fs vfs.FS, dir string) ([]byte, error) {
	var out bytes.Buffer
	err := sumsUnder(fs, dir, "", &out)
	return out.Bytes(), err
}

func sumsUnder(fs vfs.FS, root, under string, out *bytes.Buffer) error {
	dir := fs.PathJoin(root, under)
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		path, rel := fs.PathJoin(dir, name), strings.TrimPrefix(under+"/"+name, "/")
		if rel == sumsFile || rel == metaDir+"/LOCK" { // whoever looks at the database makes that
			continue
		}
		info, err := fs.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			// A directory without a file is a partition that has lost all.
			fmt.Fprintf(out, "directory %s\n", rel)
			if err := sumsUnder(fs, root, rel, out); err != nil {
				return err
			}
			continue
		}
		sum, ok := commitlog.SealedSum(fs, dir, name, info.Size())
		if !ok {
			if sum, err = sumOf(fs, path); err != nil {
				return err
			}
		}
		fmt.Fprintf(out, "%08x %d %s\n", sum, info.Size(), rel)
	}
	return nil
}

func sumOf(fs vfs.FS, path string) (uint32, error) {
	f, err := fs.Open(path)
	if err != nil {
		return 0, err
	}
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	_, err = io.Copy(h, f)
	return h.Sum32(), errors.Join(err, f.Close())
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
	p, err := sums(k.b.gate, k.dir)
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
