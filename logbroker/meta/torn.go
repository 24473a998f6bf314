package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// DamageError says that something of the database was durable and cannot be read.
type DamageError struct {
	Path     string // the file
	Position int64  // where in it, in bytes
	Reason   string
}

// Error names the file, the place, and the mend.
func (e *DamageError) Error() string {
	return fmt.Sprintf("meta: %s at byte %d: %s; restore the data directory from a backup", e.Path, e.Position, e.Reason)
}

// Pebble writes its log and its manifest as chunks, which cross no border of blocks.
// A chunk has a CRC (4), the length of its data (2), a type (1), in logs the number of
// the log (4), in newer ones, too, up to where the log was synced before (8), and data.
const (
	blockSize     = 32 << 10
	plainHeader   = 7
	numberHeader  = 11
	syncHeader    = 19
	lastPlain     = 4
	lastNumbered  = 8
	lastWithSync  = 12
	trailerType   = 5 // with the number of the next log it ends one
	firstOfRecord = 2 // types up to this one, of each four, begin a record
)

// checkTails looks for damage in the logs and in the manifest that Pebble would take
// for a torn tail: it would go on without the rows behind it. What a SIGKILL or a
// power loss leaves is no damage.
func checkTails(fs vfs.FS, dir string) error {
	names, err := fs.List(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("meta: %w", err)
	}
	manifest := ""
	if desc, err := pebble.Peek(dir, fs); err == nil && desc.Exists {
		manifest = fs.PathBase(desc.ManifestFilename)
	}
	known := readMark(fs, dir)
	var faults []error
	newest := uint64(0)
	for _, name := range names {
		which, number, ok := markedFile(name)
		if !ok || which == ofManifest && name != manifest {
			continue // of no use, or one that is being made
		}
		if which == ofLog {
			newest = max(newest, number)
		}
		t := tail{number: uint32(number), isLog: which == ofLog}
		if known[which].number == number {
			t.synced = int64(known[which].end)
		}
		path := fs.PathJoin(dir, name)
		if t.data, err = readAll(fs, path); err != nil {
			return fmt.Errorf("meta: %s: %w", path, err)
		}
		if at, reason := t.check(); reason != "" {
			faults = append(faults, &DamageError{path, at, reason})
		}
	}
	// The next log is durable before one is removed.
	if log := known[ofLog]; log.end > 0 && newest < log.number {
		faults = append(faults, &DamageError{fs.PathJoin(dir, fmt.Sprintf("%06d.log", log.number)), 0, fmt.Sprintf("%d bytes were on disk, and it is not there", log.end)})
	}
	return errors.Join(faults...)
}

func readAll(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	p, err := io.ReadAll(f)
	return p, errors.Join(err, f.Close())
}

// tail is a log or a manifest whose end is looked at.
type tail struct {
	data   []byte
	number uint32
	isLog  bool
	synced int64 // so much was durable, at least
}

// chunk is one that is whole.
type chunk struct {
	size   int64 // with its header
	begins bool  // a record
	synced int64 // so much of the log was synced when it was written; 0 where it does not say
}

// check says where something was durable and cannot be read; otherwise the reason is
// empty.
func (t *tail) check() (at int64, reason string) {
	at, ended := t.walk()
	if at < t.synced && !(ended && at+numberHeader >= t.synced) {
		return at, fmt.Sprintf("%d bytes of it were on disk, and cannot be read from here on", t.synced)
	}
	if ended {
		return 0, "" // what is behind it is of an older log, whose file this was
	}
	for p := at + 1; p+plainHeader <= int64(len(t.data)); p++ {
		c, ok := t.chunkAt(p)
		// An edit of the manifest is written when the one before is durable.
		if ok && (t.isLog && c.synced > at && c.synced <= p || !t.isLog && c.begins) {
			return at, fmt.Sprintf("it cannot be read from here on, and what is written at byte %d says that it was on disk", p)
		}
	}
	return 0, ""
}

// walk reads chunks as Pebble does, up to the first that is not whole. ended tells that
// the log says there that it ends.
func (t *tail) walk() (at int64, ended bool) {
	size := int64(len(t.data))
	for at < size {
		left := min(blockSize-at%blockSize, size-at)
		if c, ok := t.chunkAt(at); ok {
			at += c.size
			continue
		}
		if left >= blockSize-at%blockSize && (left < plainHeader || left < syncHeader && isZero(t.data[at:at+left])) {
			at += left // no header fits there
			continue
		}
		return at, t.isLog && left >= numberHeader && t.isTrailer(t.data[at:])
	}
	return at, false
}

// isTrailer tells whether a log says that it ends.
func (t *tail) isTrailer(p []byte) bool {
	return isZero(p[:6]) && p[6] == trailerType && binary.LittleEndian.Uint32(p[7:]) == t.number+1
}

func isZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
}

// chunkAt reads a chunk of the file; ok is false where none is whole.
func (t *tail) chunkAt(at int64) (c chunk, ok bool) {
	p := t.data[at:min(int64(len(t.data)), at+blockSize-at%blockSize)]
	if len(p) < plainHeader {
		return chunk{}, false
	}
	kind, header := p[6], plainHeader
	switch {
	case kind == 0 || kind > lastWithSync || (kind > lastPlain) != t.isLog:
		return chunk{}, false
	case kind > lastNumbered:
		header = syncHeader
	case kind > lastPlain:
		header = numberHeader
	}
	size := header + int(binary.LittleEndian.Uint16(p[4:]))
	if size > len(p) || t.isLog && binary.LittleEndian.Uint32(p[7:]) != t.number {
		return chunk{}, false
	}
	if binary.LittleEndian.Uint32(p) != maskedSum(p[6:size]) {
		return chunk{}, false
	}
	c = chunk{size: int64(size), begins: (kind-1)%4+1 <= firstOfRecord}
	if header == syncHeader {
		c.synced = int64(binary.LittleEndian.Uint64(p[numberHeader:]))
	}
	return c, true
}

// maskedSum is the CRC-32C of a chunk as it is written.
func maskedSum(p []byte) uint32 {
	c := crc32.Checksum(p, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
