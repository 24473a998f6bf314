package meta

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxOpenFailures is how often what the database does behind an Open may fail, one
// time after the other, before the Open is given up.
const maxOpenFailures = 3

// opening is an Open of the database. Pebble tries a flush again and again, for ever
// where the disk stays as it is, and it is not safe to let it go on after it has said
// that a failure is final: Open gives up then, and what it was doing stays where it
// is, for good. Whoever cannot open its database ends.
type opening struct {
	mu       sync.Mutex // guards what follows
	over     bool
	failures int
	gaveUp   chan error // capacity 1
}

type opened struct {
	db  *pebble.DB
	err error
}

// open is pebble.Open, which ends.
func (o *opening) open(dir string, opts *pebble.Options) (*pebble.DB, error) {
	o.gaveUp = make(chan error, 1)
	opts.EventListener = &pebble.EventListener{BackgroundError: o.failed}
	done := make(chan opened, 1)
	go func() {
		var r opened
		defer func() { done <- r }()
		defer catch(&r.err)
		r.db, r.err = pebble.Open(dir, opts)
	}()
	select {
	case r := <-done:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.over = true
		return r.db, r.err
	case err := <-o.gaveUp:
		return nil, err
	}
}

// failed is called when something failed that is tried again.
func (o *opening) failed(err error) {
	o.mu.Lock()
	o.failures++
	wait := !o.over && o.failures >= maxOpenFailures
	o.mu.Unlock()
	if wait {
		o.giveUp(fmt.Errorf("it has failed %d times: %w", maxOpenFailures, err))
	}
}

// giveUp lets Open return the error, if it has not returned, and then does not
// return itself.
func (o *opening) giveUp(err error) {
	o.mu.Lock()
	over := o.over
	o.mu.Unlock()
	if over {
		return
	}
	select {
	case o.gaveUp <- err:
	default:
	}
	select {}
}

// fence keeps the files of a database that has failed: Pebble would go on, and might
// remove the log of what it takes for flushed, when the manifest that says so is not
// on disk.
type fence struct {
	vfs.FS
	store *Store
}

var errFenced = errors.New("meta: the database has failed, and its files stay as they are")

func (f *fence) err() error {
	if f.store.failed.Load() != nil {
		return errFenced
	}
	return nil
}

func (f *fence) Remove(name string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *fence) RemoveAll(name string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

func (f *fence) Rename(oldname, newname string) error {
	if err := f.err(); err != nil {
		return err
	}
	return f.FS.Rename(oldname, newname)
}

func (f *fence) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.err(); err != nil {
		return nil, err
	}
	return f.FS.ReuseForWrite(oldname, newname, c)
}

func (f *fence) OpenDir(name string) (vfs.File, error) {
	dir, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fencedDir{dir, f.store}, nil
}

// fencedDir is a directory. Pebble panics, in a goroutine of its own, where one
// cannot be synced in which it names another manifest. So it is not told: the
// database has failed then, and what it does from then on changes nothing.
type fencedDir struct {
	vfs.File
	store *Store
}

func (d *fencedDir) Sync() error {
	if err := d.File.Sync(); err != nil {
		d.store.fail(fmt.Errorf("meta: sync of its directory: %w", err))
	}
	return nil
}

func (f *fence) Unwrap() vfs.FS { return f.FS }
