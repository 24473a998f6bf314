package file

import (
	"encoding/json"
	"fmt"
	"os"
	"syscall"

	"github.com/cespare/xxhash/v2"
)

// windowBytes is how much of the file on either end a fingerprint covers.
const windowBytes = 1 << 10

// position is the place of the next line. It is stored as JSON:
//
//	{"v":1,"path":"orders.jsonl","dev":2049,"ino":131,"offset":812,"line":9,
//	 "head":"2c9e…","tail":"81f0…"}
//
// head is the xxhash64 of the first bytes of the file, tail that of the bytes
// before offset: of at most windowBytes each, and never of bytes from offset
// on, which may still change. Only the identity decides; path and line are for
// people.
type position struct {
	Version int    `json:"v"`
	Path    string `json:"path"`
	Dev     uint64 `json:"dev"`
	Ino     uint64 `json:"ino"`
	Offset  int64  `json:"offset"`
	Line    int64  `json:"line"`
	Head    string `json:"head"`
	Tail    string `json:"tail"`
}

const positionVersion = 1

func parsePosition(b []byte) (position, error) {
	var p position
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("stored position %.80q: %w", b, err)
	}
	if p.Version != positionVersion {
		return p, fmt.Errorf("stored position has version %d, this connector reads %d", p.Version, positionVersion)
	}
	if p.Offset < 0 || p.Line < 0 {
		return p, fmt.Errorf("stored position %.80q: negative offset or line", b)
	}
	return p, nil
}

func (p position) encode() []byte {
	b, _ := json.Marshal(p) // a struct of plain fields cannot fail
	return b
}

// fileID names an inode.
type fileID struct{ dev, ino uint64 }

func idOf(fi os.FileInfo) fileID {
	st := fi.Sys().(*syscall.Stat_t)
	return fileID{uint64(st.Dev), st.Ino}
}

func fingerprint(b []byte) string { return fmt.Sprintf("%016x", xxhash.Sum64(b)) }

// windows reads the bytes that the fingerprints of a position cover; ok is
// false if the file is shorter than the position or says something else.
func (p position) windows(f *os.File) (head, tail []byte, ok bool) {
	n := min(p.Offset, windowBytes)
	head, tail = make([]byte, n), make([]byte, n)
	if _, err := f.ReadAt(head, 0); err != nil && n > 0 {
		return nil, nil, false
	}
	if _, err := f.ReadAt(tail, p.Offset-n); err != nil && n > 0 {
		return nil, nil, false
	}
	return head, tail, fingerprint(head) == p.Head && fingerprint(tail) == p.Tail
}
