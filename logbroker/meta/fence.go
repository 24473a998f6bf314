package meta

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fence keeps the files of a database that has failed as they are: what Pebble writes
// after that goes into memory, and it is not told. Pebble would go on: it might name a
// table in its manifest whose own name is not durable, or remove the log of what it
// takes for flushed. Told that its log or its manifest cannot be written it ends the
// process, or flushes again without end. So the fence keeps that from it, too; what it
// commits then is refused by the store.
type fence struct {
	vfs.FS
	store *Store
	dir   string     // of the database; a checkpoint in another may fail by itself
	after *vfs.MemFS // where files that are made later go
}

func newFence(fs vfs.FS, dir string, s *Store) *fence {
	return &fence{fs, s, fs.PathDir(fs.PathJoin(dir, "file")), vfs.NewMem()}
}

func (f *fence) closed() bool { return f.store.failed.Load() != nil }

// of is the error of a call for a file. For some it is the end of the database, once
// that is open, and Pebble is not told.
func (f *fence) of(name string, err error) error {
	if err == nil || f.PathDir(name) != f.dir || !isVital(f.PathBase(name)) || !f.store.opening.isOver() {
		return err
	}
	f.store.fail(fmt.Errorf("meta: its file %s: %w", name, err))
	return nil
}

// isVital tells whether Pebble cannot do without a file: it makes tables again.
func isVital(name string) bool {
	return strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "MANIFEST-") || strings.HasPrefix(name, "marker.")
}

// made wraps a file that was made, or gives one in memory.
func (f *fence) made(name string, c vfs.DiskWriteCategory, file vfs.File, err error) (vfs.File, error) {
	if err == nil {
		return f.wrap(file, name), nil
	}
	if err := f.of(name, err); err != nil {
		return nil, err
	}
	return f.after.Create(f.PathBase(name), c)
}

func (f *fence) wrap(file vfs.File, name string) *fencedFile {
	w := &fencedFile{File: file, fence: f, name: name}
	if f.PathDir(name) == f.dir {
		w.which, w.number, w.marked = markedFile(f.PathBase(name))
	}
	return w
}

func (f *fence) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.closed() {
		return f.after.Create(f.PathBase(name), c)
	}
	file, err := f.FS.Create(name, c)
	return f.made(name, c, file, err)
}

func (f *fence) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.closed() {
		return f.after.Create(f.PathBase(newname), c)
	}
	file, err := f.FS.ReuseForWrite(oldname, newname, c)
	return f.made(newname, c, file, err)
}

func (f *fence) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.closed() {
		return f.after.OpenReadWrite(f.PathBase(name), c, opts...)
	}
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.made(name, c, file, err)
}

// Open finds what was made later, too.
func (f *fence) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.closed() {
		if file, err := f.after.Open(f.PathBase(name), opts...); err == nil {
			return file, nil
		}
	}
	return f.FS.Open(name, opts...)
}

func (f *fence) Stat(name string) (vfs.FileInfo, error) {
	if f.closed() {
		if info, err := f.after.Stat(f.PathBase(name)); err == nil {
			return info, nil
		}
	}
	return f.FS.Stat(name)
}

func (f *fence) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil || f.PathDir(f.PathJoin(name, "file")) != f.dir {
		return dir, err
	}
	return &fencedDir{dir, f.store}, nil
}

func (f *fence) Link(oldname, newname string) error {
	return f.change(func() error { return f.FS.Link(oldname, newname) })
}

func (f *fence) Remove(name string) error {
	return f.change(func() error { return f.FS.Remove(name) })
}

func (f *fence) RemoveAll(name string) error {
	return f.change(func() error { return f.FS.RemoveAll(name) })
}

func (f *fence) Rename(oldname, newname string) error {
	return f.change(func() error { return f.FS.Rename(oldname, newname) })
}

func (f *fence) MkdirAll(dir string, perm os.FileMode) error {
	return f.change(func() error { return f.FS.MkdirAll(dir, perm) })
}

func (f *fence) change(fn func() error) error {
	if f.closed() {
		return nil
	}
	return fn()
}

func (f *fence) Unwrap() vfs.FS { return f.FS }

// fencedDir is a directory. Pebble panics, in a goroutine of its own, where one
// cannot be synced in which it names another manifest. So it is not told: the
// database has failed then, and what it does from then on changes nothing.
type fencedDir struct {
	vfs.File
	store *Store
}

func (d *fencedDir) Sync() error {
	if d.store.failed.Load() != nil {
		return nil
	}
	if err := d.File.Sync(); err != nil {
		d.store.fail(fmt.Errorf("meta: sync of its directory: %w", err))
	}
	return nil
}

// fencedFile is a file that is written.
type fencedFile struct {
	vfs.File
	fence *fence
	name  string

	marked  bool // how far it is durable is noted in the mark
	which   int
	number  uint64
	written atomic.Uint64 // bytes; such files are written from their start on
}

// wrote is what Pebble is told of a write of n bytes.
func (f *fencedFile) wrote(p []byte, n int, err error) (int, error) {
	if err = f.fence.of(f.name, err); err == nil {
		n = len(p)
	}
	return n, err
}

func (f *fencedFile) Write(p []byte) (int, error) {
	if f.fence.closed() {
		return len(p), nil
	}
	n, err := f.File.Write(p)
	f.written.Add(uint64(n))
	return f.wrote(p, n, err)
}

func (f *fencedFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fence.closed() {
		return len(p), nil
	}
	n, err := f.File.WriteAt(p, off)
	return f.wrote(p, n, err)
}

func (f *fencedFile) Preallocate(off, n int64) error {
	if f.fence.closed() {
		return nil
	}
	return f.fence.of(f.name, f.File.Preallocate(off, n))
}

func (f *fencedFile) Sync() error {
	if f.fence.closed() {
		return nil
	}
	return f.synced(f.written.Load(), f.File.Sync())
}

func (f *fencedFile) SyncData() error {
	if f.fence.closed() {
		return nil
	}
	return f.synced(f.written.Load(), f.File.SyncData())
}

// synced is what Pebble is told of a sync of the first bytes.
func (f *fencedFile) synced(end uint64, err error) error {
	if err != nil {
		return f.fence.of(f.name, err)
	}
	if f.marked {
		f.fence.store.mark.note(f.which, durable{f.number, end})
	}
	return nil
}

func (f *fencedFile) SyncTo(n int64) (bool, error) {
	if f.fence.closed() {
		return true, nil
	}
	full, err := f.File.SyncTo(n)
	return full, f.fence.of(f.name, err)
}

func (f *fencedFile) Close() error { return f.fence.of(f.name, f.File.Close()) }
