package logbroker

import (
	"io"
	"os"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// gateFS passes everything through until it is shut; from then on nothing
// written reaches the file system, and nobody is told. It is how Kill drops
// what a SIGKILL would: bytes that were handed over stay, bytes still in
// memory go.
type gateFS struct {
	vfs.FS
	shut  atomic.Bool
	after *vfs.MemFS // where files created later go
}

func newGateFS(fs vfs.FS) *gateFS { return &gateFS{FS: fs, after: vfs.NewMem()} }

func (g *gateFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &gateFile{File: f, gate: g}, nil
}

func (g *gateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.shut.Load() {
		return g.after.Create(g.PathBase(name), c)
	}
	return g.wrap(g.FS.Create(name, c))
}

func (g *gateFS) Link(oldname, newname string) error {
	if g.shut.Load() {
		return nil
	}
	return g.FS.Link(oldname, newname)
}

func (g *gateFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return g.wrap(g.FS.Open(name, opts...))
}

func (g *gateFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if g.shut.Load() {
		return g.after.OpenReadWrite(g.PathBase(name), c, opts...)
	}
	return g.wrap(g.FS.OpenReadWrite(name, c, opts...))
}

func (g *gateFS) OpenDir(name string) (vfs.File, error) { return g.wrap(g.FS.OpenDir(name)) }

func (g *gateFS) Remove(name string) error {
	if g.shut.Load() {
		return nil
	}
	return g.FS.Remove(name)
}

func (g *gateFS) RemoveAll(name string) error {
	if g.shut.Load() {
		return nil
	}
	return g.FS.RemoveAll(name)
}

func (g *gateFS) Rename(oldname, newname string) error {
	if g.shut.Load() {
		return nil
	}
	return g.FS.Rename(oldname, newname)
}

func (g *gateFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.shut.Load() {
		return g.after.Create(g.PathBase(newname), c)
	}
	return g.wrap(g.FS.ReuseForWrite(oldname, newname, c))
}

func (g *gateFS) MkdirAll(dir string, perm os.FileMode) error {
	if g.shut.Load() {
		return nil
	}
	return g.FS.MkdirAll(dir, perm)
}

func (g *gateFS) Lock(name string) (io.Closer, error) { return g.FS.Lock(name) }

func (g *gateFS) Unwrap() vfs.FS { return g.FS }

type gateFile struct {
	vfs.File
	gate *gateFS
}

func (f *gateFile) Write(p []byte) (int, error) {
	if f.gate.shut.Load() {
		return len(p), nil
	}
	return f.File.Write(p)
}

func (f *gateFile) WriteAt(p []byte, off int64) (int, error) {
	if f.gate.shut.Load() {
		return len(p), nil
	}
	return f.File.WriteAt(p, off)
}

func (f *gateFile) Preallocate(off, n int64) error {
	if f.gate.shut.Load() {
		return nil
	}
	return f.File.Preallocate(off, n)
}

// Fd gives the file away only as long as what is done with it may be done.
func (f *gateFile) Fd() uintptr {
	if f.gate.shut.Load() {
		return vfs.InvalidFd
	}
	return f.File.Fd()
}

func (f *gateFile) Sync() error {
	if f.gate.shut.Load() {
		return nil
	}
	return f.File.Sync()
}

func (f *gateFile) SyncData() error {
	if f.gate.shut.Load() {
		return nil
	}
	return f.File.SyncData()
}

func (f *gateFile) SyncTo(n int64) (bool, error) {
	if f.gate.shut.Load() {
		return true, nil
	}
	return f.File.SyncTo(n)
}
