package commitlog

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// markSize is 8 bytes of offset and their CRC-32C.
const markSize = 12

// writeMark notes the synced end in a file that is not itself synced. After a
// SIGKILL it is exact; after a power loss it is what the system wrote back last,
// never more than was synced. Recovery takes what lies below it for durable:
// a batch there that cannot be read is damage, not a torn tail.
func (l *Log) writeMark(end int64) {
	if l.mark == nil {
		return
	}
	binary.BigEndian.PutUint64(l.markBuf[:], uint64(end))
	binary.BigEndian.PutUint32(l.markBuf[8:], crc32.Checksum(l.markBuf[:8], castagnoli))
	if _, err := l.mark.WriteAt(l.markBuf[:], 0); err != nil {
		l.log.Warn("mark of the synced end was not written", "file", l.dir.join(markFile), "error", err)
	}
}

func openMark(d *directory) (vfs.File, error) {
	return d.fs.OpenReadWrite(d.join(markFile), writeCategory)
}

// readMark is 0 where there is no whole mark.
func readMark(d *directory) int64 {
	end, _ := readWholeMark(d)
	return end
}

// readWholeMark tells, too, whether there is one.
func readWholeMark(d *directory) (end int64, whole bool) {
	p, err := d.readFile(markFile, markSize)
	if err != nil || len(p) != markSize || crc32.Checksum(p[:8], castagnoli) != binary.BigEndian.Uint32(p[8:]) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(p)), true
}
