package commitlog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// markSize is 8 bytes of offset and their CRC-32C.
const markSize = 12

// writeMark notes the synced end in a file that is not itself synced. After a
// SIGKILL it is exact; after a power loss it is what the system wrote back last,
// never more than was synced. Recovery takes what lies below it for durable:
// a batch there that cannot be read is damage, not a torn tail. syncing is held.
func (l *Log) writeMark(end int64) {
	l.rests = false
	var err error
	if l.mark == nil {
		l.mark, err = l.dir.fs.OpenReadWrite(l.dir.join(markFile), writeCategory)
	}
	if err == nil {
		encodeMark(&l.markBuf, end)
		_, err = l.mark.WriteAt(l.markBuf[:], 0)
	}
	if err != nil {
		l.log.Warn("mark of the synced end was not written", "file", l.dir.join(markFile), "error", err)
	}
}

func encodeMark(p *[markSize]byte, end int64) {
	binary.BigEndian.PutUint64(p[:], uint64(end))
	binary.BigEndian.PutUint32(p[8:], crc32.Checksum(p[:8], castagnoli))
}

// makeMark makes the file of the mark where there is none, and tells whether it did.
// Where its name is durable before any checkpoint is, one that is gone can be told.
func (r *recovery) makeMark() (made bool, err error) {
	if _, err := r.cfg.FS.Stat(r.dir.join(markFile)); !isNotExist(err) {
		return false, nil
	}
	f, err := r.cfg.FS.OpenReadWrite(r.dir.join(markFile), writeCategory)
	if err != nil {
		return false, fmt.Errorf("commitlog: %w", err)
	}
	var p [markSize]byte
	encodeMark(&p, 0)
	if _, err := f.WriteAt(p[:], 0); err != nil {
		r.log.Warn("mark of the synced end was not written", "file", r.dir.join(markFile), "error", err)
	}
	if err := f.Close(); err != nil {
		return false, fmt.Errorf("commitlog: %w", err)
	}
	return true, nil
}

// Rest closes the file of the mark and gives back what is reserved if nothing was synced
// since the last call: there may be very many logs that nobody writes to, and each has
// its active segment open, too.
func (l *Log) Rest() {
	if !l.appends.TryLock() {
		return
	}
	defer l.appends.Unlock()
	if !l.syncing.TryLock() {
		return
	}
	defer l.syncing.Unlock()
	if l.rests && l.usable() == nil {
		l.closeMark()
		if seg := l.active(); seg.reserved > 0 {
			seg.giveBack()
		}
	}
	l.rests = true
}

// closeMark closes the file of the mark, which has what can be had of it. syncing is held.
func (l *Log) closeMark() {
	if l.mark == nil {
		return
	}
	if err := l.mark.Close(); err != nil {
		l.log.Warn("mark of the synced end was not closed", "file", l.dir.join(markFile), "error", err)
	}
	l.mark = nil
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
