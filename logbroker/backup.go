package logbroker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/levada/levada/internal/datadir"
	"github.com/levada/levada/logbroker/commitlog"
)

// incomplete is what a backup's name ends with until it is whole.
const incomplete = ".incomplete"

// Backup is what a backup holds.
type Backup struct {
	Partitions int `json:"partitions"`
	// Ends are the ends of the logs, by partition ("topic-0").
	Ends map[string]int64 `json:"ends"`
	// Paused is how long writes had to wait.
	Paused time.Duration `json:"paused_ns"`
}

// Backup makes dir a copy of the data directory as it is at one moment, while the
// broker goes on: what a start over it finds is what a start after a SIGKILL at
// that moment would have found. Sealed segments are not copied but get a second
// name, so dir must be in the same file system; it must not be there yet. All in it
// is durable when Backup returns. Errors name the directory. It is safe for
// concurrent use.
func (b *Broker) Backup(dir string) (Backup, error) {
	if _, err := b.gate.Stat(dir); err == nil {
		return Backup{}, fmt.Errorf("backup to %s: it is there already: name another directory", dir)
	}
	k := &backup{b: b, dir: dir + incomplete, info: Backup{Ends: map[string]int64{}}}
	err := b.gate.RemoveAll(k.dir)
	if err == nil {
		err = k.run()
	}
	if err == nil {
		err = b.gate.Rename(k.dir, dir)
	}
	if err == nil {
		err = datadir.SyncDir(b.gate, b.gate.PathDir(dir))
	}
	if err != nil {
		return Backup{}, errors.Join(fmt.Errorf("backup to %s: %w", dir, err), b.gate.RemoveAll(k.dir))
	}
	return k.info, nil
}

// backup is one Backup.
type backup struct {
	b      *Broker
	dir    string
	info   Backup
	frozen []*commitlog.Frozen
}

func (k *backup) path(elem ...string) string {
	return k.b.gate.PathJoin(append([]string{k.dir}, elem...)...)
}

func (k *backup) run() error {
	for _, sub := range []string{logsDir, deletedDir} {
		if err := k.b.gate.MkdirAll(k.path(sub), 0o700); err != nil {
			return err
		}
	}
	if err := k.freeze(); err != nil {
		return err
	}
	for _, f := range k.frozen {
		if err := f.Complete(); err != nil {
			return err
		}
	}
	format, err := k.b.gate.Create(k.path(datadir.FormatFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = format.Write([]byte(DataFormat + "\n"))
	if err = errors.Join(err, format.Close(), k.writeSums()); err != nil {
		return err
	}
	return k.sync()
}

// freeze stops all appends while files get their second names and the database
// makes its checkpoint. The database comes last: what it says of a log must be there,
// while a log may not yet have what was decided, as after a crash.
func (k *backup) freeze() error {
	// No topic comes or goes.
	k.b.topics.edit.Lock()
	defer k.b.topics.edit.Unlock()
	start := time.Now()
	defer func() {
		for _, f := range k.frozen {
			f.Thaw()
		}
		k.info.Paused = time.Since(start)
	}()
	var offline []string
	var failed error // the first is enough: others are like it
	k.b.topics.each(func(p *partition) {
		name := p.topic.name + "-" + strconv.Itoa(int(p.index))
		empty := p.unmade && k.b.topics.holdsNothing(p)
		if p.log == nil && !empty {
			offline = append(offline, fmt.Sprintf("%s (%v)", name, p.damage))
			return
		}
		if failed != nil {
			return
		}
		if k.info.Partitions++; empty { // as on a full disk: nothing was ever in it
			k.info.Ends[name] = 0
			failed = commitlog.MakeEmpty(k.b.gate, k.path(logsDir, name))
			return
		}
		f, err := p.log.Freeze()
		if err != nil {
			failed = err
			return
		}
		k.frozen = append(k.frozen, f)
		k.info.Ends[name] = f.End()
		failed = f.LinkTo(k.path(logsDir, name))
	})
	if len(offline) > 0 {
		return fmt.Errorf("%d partitions are offline, bring them back or delete them first: %s", len(offline), strings.Join(offline[:min(len(offline), maxNamed)], "; "))
	}
	switch {
	case errors.Is(failed, syscall.EXDEV):
		return fmt.Errorf("it is in another file system than the data directory, and shares its bytes: make it there, then copy it (%w)", failed)
	case failed != nil:
		return failed
	}
	return k.b.meta.Checkpoint(k.path(metaDir))
}

// sync makes the whole backup durable.
func (k *backup) sync() error {
	if did, err := k.b.syncer.all(); did || err != nil {
		return err
	}
	return syncTree(k.b.gate, k.dir)
}

// syncTree syncs every file and directory under dir, itself last.
func syncTree(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := fs.PathJoin(dir, name)
		info, err := fs.Stat(path)
		if err != nil {
			return err
		}
		if info.IsDir() {
			err = syncTree(fs, path)
		} else {
			err = syncFile(fs, path)
		}
		if err != nil {
			return err
		}
	}
	return datadir.SyncDir(fs, dir)
}

func syncFile(fs vfs.FS, path string) error {
	f, err := fs.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
