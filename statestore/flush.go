package statestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// flushFile is the table being written; it becomes part of Pebble when it is
// complete and synced, at once, or not at all.
const flushFile = "flush.sst"

// Flush makes everything that is committed durable and returns when it is.
func (e *Engine) Flush() error {
	e.flushMu.Lock()
	defer e.flushMu.Unlock()
	if err := e.Err(); err != nil {
		return err
	}
	list := e.open()
	var due []*Partition
	for _, p := range list {
		if p.rotate(e) {
			due = append(due, p)
		}
	}
	e.mu.Lock()
	e.flushedAt = e.cfg.Now()
	e.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	entries, bytes, err := e.write(due)
	if err != nil {
		return e.fail(fmt.Errorf("statestore: flush: %w", err))
	}
	for _, p := range due {
		p.flushed()
	}
	e.mu.Lock()
	e.stats.Flushes++
	e.stats.FlushedEntries += entries
	e.stats.FlushedBytes += bytes
	e.mu.Unlock()
	return nil
}

// rotate makes the filling generation the flushing one. It returns false if
// there is nothing to flush.
func (p *Partition) rotate(e *Engine) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.moved && len(p.filling.entries) == 0 {
		return false
	}
	p.flushing, p.filling, p.moved = p.filling, &generation{}, false
	p.cut = p.upTo
	p.cut.TimestampMs = e.cfg.Now().UnixMilli()
	e.filling.Add(-p.flushing.bytes)
	return true
}

// flushed drops the flushing generation, which is on disk.
func (p *Partition) flushed() {
	p.mu.Lock()
	p.flushing, p.onDisk, p.isNew = nil, true, false
	p.mu.Unlock()
}

// write writes one table with the cut and the entries of each partition and
// hands it to Pebble.
func (e *Engine) write(due []*Partition) (entries, bytes int64, err error) {
	path := e.dir.Join(flushFile)
	f, err := e.cfg.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return 0, 0, err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), e.options().MakeWriterOptions(0, e.db.TableFormat()))
	entries, err = writeRows(w, due)
	if err = errors.Join(err, w.Close()); err != nil {
		return 0, 0, err
	}
	info, err := e.cfg.FS.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	if err := e.db.Ingest(context.Background(), []string{path}); err != nil {
		return 0, 0, err
	}
	return entries, info.Size(), nil
}

// writeRows writes, in the order of keys: the numbers of new partitions, then
// of each partition its cut and its entries. No lock is needed: a flushing
// generation and its cut do not change.
func writeRows(w *sstable.Writer, due []*Partition) (entries int64, err error) {
	if err := writeIDs(w, due); err != nil {
		return 0, err
	}
	var row, value []byte
	for _, p := range due {
		if err := w.Set(rowPrefix(p.num, kindCut), p.cut.append(value[:0])); err != nil {
			return 0, err
		}
		row = append(row[:0], rowPrefix(p.num, kindData)...)
		g := p.flushing
		for _, n := range g.sorted() {
			entry := &g.entries[n]
			row = append(row[:5], g.key(entry)...)
			if stored := g.stored(entry); stored != nil {
				err = w.Set(row, stored)
			} else {
				err = w.Delete(row)
			}
			if err != nil {
				return 0, err
			}
		}
		entries += int64(len(g.entries))
	}
	return entries, nil
}

func writeIDs(w *sstable.Writer, due []*Partition) error {
	g := &generation{}
	for _, p := range due {
		if p.isNew {
			id := encodeID(p.id)
			g.put(hashKey(id), id, binary.BigEndian.AppendUint32(nil, p.num))
		}
	}
	for _, n := range g.sorted() {
		entry := &g.entries[n]
		if err := w.Set(append(rowPrefix(metaID, kindData), g.key(entry)...), g.stored(entry)); err != nil {
			return err
		}
	}
	return nil
}

// pebbleLogger takes what Pebble says. Its chatter is for debugging.
type pebbleLogger struct{ log *slog.Logger }

var _ pebble.Logger = pebbleLogger{}

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return: Pebble relies on it.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	panic("statestore: pebble cannot go on: " + fmt.Sprintf(format, args...))
}
