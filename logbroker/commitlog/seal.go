package commitlog

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	sealHeader = "levada seal 1"
	swapHeader = "levada swap 1"
	maxSeal    = 1 << 20
)

var errSeal = errors.New("seal is damaged")

// seal is what holds for a segment that does not grow any more. Base offsets
// and leader epochs lie outside the CRC of a batch; the sum covers them, and
// tells of a batch that is gone.
type seal struct {
	base, end   int64 // end is the base of the next segment
	sizeBytes   int64
	sum         uint32 // CRC-32C of the file
	compactedTo int64  // compaction has been over all below it; -1: never. Otherwise offsets have gaps
	more        int    // bytes that follow it in its file, though nobody writes any
}

func (s seal) line() string {
	return fmt.Sprintf("segment %d %d %d %08x %d\n", s.base, s.end, s.sizeBytes, s.sum, s.compactedTo)
}

func parseSeal(line string) (s seal, err error) {
	_, err = fmt.Sscanf(line, "segment %d %d %d %x %d", &s.base, &s.end, &s.sizeBytes, &s.sum, &s.compactedTo)
	if err != nil || s.base < 0 || s.end < s.base || s.sizeBytes < 0 || s.compactedTo < -1 {
		return seal{}, errSeal
	}
	return s, nil
}

func (s seal) encode() []byte { return sealed(sealHeader + "\n" + s.line()) }

// sealed appends the sum that tells whether a small text file is whole.
func sealed(text string) []byte {
	return fmt.Appendf(nil, "%scrc %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

// unseal gives the lines after the header of such a file, and how many bytes follow
// what its sum covers: nobody writes such.
func unseal(p []byte, header string) (lines []string, more int, err error) {
	at := bytes.Index(p, []byte("\ncrc ")) + 1
	whole := sealed(string(p[:at]))
	if at == 0 || !bytes.HasPrefix(p, whole) {
		return nil, 0, errSeal
	}
	lines = strings.Split(strings.TrimSuffix(string(p[:at]), "\n"), "\n")
	if len(lines) < 2 || lines[0] != header {
		return nil, 0, errSeal
	}
	return lines[1:], len(p) - len(whole), nil
}

// verify reads the whole segment and compares it with the seal.
func (s seal) verify(seg *segment, sizeBytes int64) error {
	sum, err := fileSum(seg, min(sizeBytes, s.sizeBytes))
	if err != nil {
		return err
	}
	if sizeBytes < s.sizeBytes || sum != s.sum {
		return &DamageError{
			Path: seg.path(), Position: min(sizeBytes, s.sizeBytes), Offset: s.base,
			Reason: fmt.Errorf("%d bytes with the sum %08x, its seal says %d with %08x", sizeBytes, sum, s.sizeBytes, s.sum),
		}
	}
	return nil
}

// fileSum is the CRC-32C of the first bytes of a file.
func fileSum(file io.ReaderAt, sizeBytes int64) (uint32, error) {
	h := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, io.NewSectionReader(file, 0, sizeBytes), make([]byte, 256<<10)); err != nil {
		return 0, fmt.Errorf("commitlog: %w", err)
	}
	return h.Sum32(), nil
}

func decodeSeal(p []byte) (seal, error) {
	lines, more, err := unseal(p, sealHeader)
	if err != nil {
		return seal{}, err
	}
	s, err := parseSeal(lines[0])
	s.more = more
	return s, err
}

// readSeal reads the seal of a segment; ok is false if it has none. What follows its sum
// says nothing, and is passed over.
func (d *directory) readSeal(base int64) (s seal, ok bool, err error) {
	p, err := d.readFile(sealName(base), maxSeal)
	if isNotExist(err) {
		return seal{}, false, nil
	}
	if err == nil {
		s, err = decodeSeal(p)
	}
	if err == nil && s.base != base {
		err = errSeal
	}
	if err != nil {
		return seal{}, false, fmt.Errorf("commitlog: %s: %w", d.join(sealName(base)), err)
	}
	return s, true, nil
}

// SealedSum is the CRC-32C of a segment's file of so many bytes as its seal has it; ok
// is false for any other file. Whether the file agrees is what Inspector tells.
func SealedSum(fs vfs.FS, dir, name string, sizeBytes int64) (sum uint32, ok bool) {
	d := &directory{fs, dir}
	var base int64
	if _, err := fmt.Sscanf(name, "%020d", &base); err != nil || name != logName(base) {
		return 0, false
	}
	s, sealed, err := d.readSeal(base)
	return s.sum, err == nil && sealed && s.sizeBytes == sizeBytes
}

// swap is the decision to put one compacted segment in the place of some: the
// first of them, whose name it takes, and those that follow.
type swap struct {
	seal                        // of the new segment
	maxTimestamp, maxTimeOffset int64
	gone                        []int64 // bases of the others
}

func (s swap) encode() []byte {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n%stime %d %d\n", swapHeader, s.line(), s.maxTimestamp, s.maxTimeOffset)
	for _, base := range s.gone {
		fmt.Fprintf(&text, "gone %d\n", base)
	}
	return sealed(text.String())
}

func decodeSwap(p []byte) (s swap, err error) {
	lines, more, err := unseal(p, swapHeader)
	if err != nil || len(lines) < 2 || more > 0 {
		return swap{}, errSeal
	}
	if s.seal, err = parseSeal(lines[0]); err != nil {
		return swap{}, err
	}
	if _, err := fmt.Sscanf(lines[1], "time %d %d", &s.maxTimestamp, &s.maxTimeOffset); err != nil {
		return swap{}, errSeal
	}
	for _, line := range lines[2:] {
		var base int64
		if _, err := fmt.Sscanf(line, "gone %d", &base); err != nil || base <= s.base || base >= s.end {
			return swap{}, errSeal
		}
		s.gone = append(s.gone, base)
	}
	return s, nil
}

// amend makes a checkpoint that was written before a swap one after it.
func (s *swap) amend(c *checkpoint) {
	if s == nil {
		return
	}
	kept := c.segments[:0]
	for _, k := range c.segments {
		switch {
		case k.base == s.base:
			kept = append(kept, checkpointSegment{base: s.base, sizeBytes: s.sizeBytes, maxTimestamp: s.maxTimestamp, maxTimeOffset: s.maxTimeOffset, compactedTo: s.compactedTo})
		case !slices.Contains(s.gone, k.base):
			kept = append(kept, k)
		}
	}
	c.segments = kept
}

// forgetSwap removes a decision that is carried out, for good: it must not be
// carried out again after the next one.
func (d *directory) forgetSwap() error { return errors.Join(d.remove(swapFile), d.sync()) }

// readSwap reads the decision that an interruption left; nil if there is none.
func (d *directory) readSwap() (*swap, error) {
	p, err := d.readFile(swapFile, maxSeal)
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := decodeSwap(p)
	if err != nil {
		return nil, fmt.Errorf("commitlog: %s: %w; restore it from a copy", d.join(swapFile), err)
	}
	return &s, nil
}

// carryOut makes the files as a swap says. It can be repeated at any time until
// the decision is removed: the compacted file keeps its own name until the one
// of the segment is durable, and its absence says that all is done.
func (d *directory) carryOut(s swap) error {
	name, compact := logName(s.base), logName(s.base)+compactSuffix
	if _, err := d.fs.Stat(d.join(compact)); isNotExist(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("commitlog: %w", err)
	}
	errs := []error{d.remove(indexName(s.base)), d.remove(timeIndexName(s.base)), d.remove(name)}
	if err := d.fs.Link(d.join(compact), d.join(name)); err != nil {
		errs = append(errs, fmt.Errorf("commitlog: %w", err))
	}
	for _, base := range s.gone {
		errs = append(errs, d.removeSegment(base))
	}
	errs = append(errs, d.replaceFile(sealName(s.base), s.seal.encode())) // syncs the directory
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.Join(d.remove(compact), d.sync())
}
