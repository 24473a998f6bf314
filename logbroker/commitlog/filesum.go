package commitlog

import (
	"hash/crc32"

	"github.com/levada/levada/internal/recordbatch"
)

// appendedSum is the CRC-32C of a segment's file as far as this run has appended it,
// so that nothing has to be read again for its seal.
type appendedSum struct {
	crc  uint32
	size int64 // in bytes; of a segment that an earlier run began, never that of the file
}

// add takes in a batch that was appended at position. All of a batch but its head is
// under its own CRC, which was verified.
func (a *appendedSum) add(b recordbatch.Batch, position int64) {
	if a.size != position {
		return
	}
	const head = recordbatch.CRCFrom
	a.crc = recordbatch.JoinSums(crc32.Update(a.crc, castagnoli, b[:head]), b.CRC(), len(b)-head)
	a.size += int64(len(b))
}
