package meta

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markFile is beside the files of the database.
const markFile = "levada-synced"

// mark notes how far Pebble's log and its manifest are durable, in a file that is not
// synced while the database is open. After a SIGKILL it is exact; after a power loss it
// is what the system wrote back last, never more than was synced. Pebble takes what it
// cannot read at the end of these files for a torn tail; below the mark it is damage.
type mark struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	mu   sync.Mutex // guards what follows
	file vfs.File   // nil until the first sync, and where it could not be opened
	off  bool
	ends [2]durable
	buf  [markSize]byte
}

// durable says that the first bytes of a file were synced. The zero value says nothing.
type durable struct{ number, end uint64 }

// The ends of a mark.
const (
	ofLog = iota
	ofManifest
)

// markSize is number and end of the log, those of the manifest, and the CRC-32C of all.
const markSize = 4*8 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// markedFile tells which end a file has in the mark, and its number.
func markedFile(name string) (which int, number uint64, ok bool) {
	digits, isLog := strings.CutSuffix(name, ".log")
	if !isLog {
		which = ofManifest
		if digits, ok = strings.CutPrefix(name, "MANIFEST-"); !ok {
			return 0, 0, false
		}
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		number = number*10 + uint64(c-'0')
	}
	return which, number, digits != ""
}

// note is called when the first bytes of a file are durable.
func (m *mark) note(which int, d durable) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off || d.number < m.ends[which].number {
		return
	}
	m.ends[which] = d
	var err error
	if m.file == nil {
		m.file, err = m.fs.OpenReadWrite(m.fs.PathJoin(m.dir, markFile), vfs.WriteCategoryUnspecified)
	}
	if err == nil {
		for i, e := range m.ends {
			binary.BigEndian.PutUint64(m.buf[16*i:], e.number)
			binary.BigEndian.PutUint64(m.buf[16*i+8:], e.end)
		}
		binary.BigEndian.PutUint32(m.buf[markSize-4:], crc32.Checksum(m.buf[:markSize-4], castagnoli))
		_, err = m.file.WriteAt(m.buf[:], 0)
	}
	m.warn(err)
}

func (m *mark) warn(err error) {
	if err != nil {
		m.log.Warn("mark of what is durable was not written", "dir", m.dir, "error", err)
	}
}

// close closes the file. Where the database ended in good order it is synced.
func (m *mark) close(sync bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off = true
	if m.file == nil {
		return
	}
	var err error
	if sync {
		err = m.file.SyncData()
	}
	m.warn(errors.Join(err, m.file.Close()))
	m.file = nil
}

// readMark says nothing where there is no whole mark.
func readMark(fs vfs.FS, dir string) (ends [2]durable) {
	f, err := fs.Open(fs.PathJoin(dir, markFile))
	if err != nil {
		return ends
	}
	defer f.Close()
	var p [markSize]byte
	if _, err := io.ReadFull(f, p[:]); err != nil || crc32.Checksum(p[:markSize-4], castagnoli) != binary.BigEndian.Uint32(p[markSize-4:]) {
		return ends
	}
	for i := range ends {
		ends[i] = durable{binary.BigEndian.Uint64(p[16*i:]), binary.BigEndian.Uint64(p[16*i+8:])}
	}
	return ends
}
