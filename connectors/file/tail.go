package file

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// errRewritten says that the file a position speaks of is not there any more,
// or no longer says what it said.
var errRewritten = errors.New("the file was truncated, rewritten or deleted")

// maxSiblings bounds the search for a renamed file in its directory.
const maxSiblings = 10_000

// tail is an open file whose bytes up to some offset have been read. It keeps
// what identifies them.
type tail struct {
	path string
	file *os.File // nil: not there yet
	id   fileID
	head []byte // the first bytes, at most windowBytes
	last []byte // the bytes before the offset, at most windowBytes
}

// open opens the file that p speaks of, wherever it was renamed to in its
// directory; without p the one at the path. errRewritten: p's file is gone.
func (t *tail) open(p *position) error {
	f, err := os.Open(t.path)
	if p == nil {
		if err != nil {
			return err
		}
		return t.adopt(f, nil, nil)
	}
	if err == nil && !p.matches(f) {
		_ = f.Close()
		err = errRewritten
	}
	if err != nil {
		if f = findRenamed(filepath.Dir(t.path), p); f == nil {
			return errRewritten
		}
	}
	head, last, ok := p.windows(f)
	if !ok {
		_ = f.Close()
		return errRewritten
	}
	return t.adopt(f, head, last)
}

func (t *tail) adopt(f *os.File, head, last []byte) error {
	fi, err := f.Stat()
	if err == nil && fi.IsDir() {
		err = fmt.Errorf("%s is a directory", t.path)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	t.file, t.id, t.head, t.last = f, idOf(fi), head, last
	return nil
}

// matches tells whether f is the file of the position.
func (p position) matches(f *os.File) bool {
	fi, err := f.Stat()
	if err != nil || idOf(fi) != (fileID{p.Dev, p.Ino}) {
		return false
	}
	_, _, ok := p.windows(f)
	return ok
}

// findRenamed looks in a directory for the file of a position.
func findRenamed(dir string, p *position) *os.File {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxSiblings)
	for _, name := range names {
		path := filepath.Join(dir, name)
		fi, err := os.Lstat(path)
		if err != nil || !fi.Mode().IsRegular() || idOf(fi) != (fileID{p.Dev, p.Ino}) {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if p.matches(f) {
			return f
		}
		_ = f.Close()
	}
	return nil
}

// passed takes note of a line that was read: it began at lineStart, and bytes,
// which lie at bufStart, are its end.
func (t *tail) passed(lineStart, bufStart int64, line []byte) {
	if bufStart != lineStart {
		// A line that was too long: its start is no longer in memory.
		p := position{Offset: bufStart + int64(len(line))}
		t.head, t.last, _ = p.windows(t.file)
		return
	}
	if missing := windowBytes - len(t.head); missing > 0 {
		t.head = append(t.head, line[:min(missing, len(line))]...)
	}
	if len(line) >= windowBytes {
		t.last = append(t.last[:0], line[len(line)-windowBytes:]...)
		return
	}
	if over := len(t.last) + len(line) - windowBytes; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	t.last = append(t.last, line...)
}

// unchanged tells whether the bytes before offset are still the ones read.
func (t *tail) unchanged(offset int64) (bool, error) {
	now := make([]byte, len(t.last))
	if len(now) == 0 {
		return true, nil
	}
	if _, err := t.file.ReadAt(now, offset-int64(len(now))); err != nil {
		fi, statErr := t.file.Stat()
		if statErr == nil && fi.Size() < offset {
			return false, nil
		}
		return false, fmt.Errorf("%s: %w", t.path, err)
	}
	return bytes.Equal(now, t.last), nil
}

// state is what look found at the end of a file.
type state int8

const (
	same     state = iota // nothing new
	grown                 // there is more to read
	shrunk                // it was truncated
	replaced              // the path names another file, and this one is at its end
)

// look compares the open file, read up to end, with what is at the path.
func (t *tail) look(end int64) (state, error) {
	// The path first: what was written before it was replaced is then seen in
	// the size.
	atPath, err := os.Stat(t.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return same, err
	}
	fi, statErr := t.file.Stat()
	switch {
	case statErr != nil:
		return same, fmt.Errorf("%s: %w", t.path, statErr)
	case fi.Size() > end:
		return grown, nil
	case fi.Size() < end:
		return shrunk, nil
	case err == nil && idOf(atPath) != t.id:
		return replaced, nil
	}
	return same, nil
}

func (t *tail) position(offset, line int64) position {
	return position{
		Version: positionVersion, Path: t.path, Dev: t.id.dev, Ino: t.id.ino,
		Offset: offset, Line: line, Head: fingerprint(t.head), Tail: fingerprint(t.last),
	}
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
	t.file = nil
}
