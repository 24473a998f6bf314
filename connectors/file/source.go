package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/levada/levada/connectors/sdk"
)

const (
	// batchBytes is about how much one batch holds.
	batchBytes = 256 << 10
	// readBytes is how much is read at once.
	readBytes = 256 << 10
	// errorPrefixBytes is how much of a line that is too long its error keeps.
	errorPrefixBytes = 1 << 10
)

// source reads lines. buf holds bytes of the file from bufStart on; the line
// being read begins at lineStart, which is bufStart unless the line is too
// long: then its start has left buf.
type source struct {
	config Config
	tail   *tail

	memory    []byte // what buf is a part of
	buf       []byte
	bufStart  int64
	lineStart int64
	line      int64 // number of the line at lineStart, from 0
	scanned   int   // bytes of buf known to hold no newline

	tooLong  []byte // first bytes of the line being skipped; nil: none is
	replaced bool   // the path named another file at the last look
	checked  bool   // what is in the file before lineStart was compared since the last wait
}

func open(c Config, start sdk.SourceStart) (*source, error) {
	s := &source{config: c, tail: &tail{path: c.Path}}
	if int64(c.MaxLine) > start.MaxBatchBytes/2 {
		return nil, sdk.Permanent(fmt.Errorf("max_line is %d, but the host takes batches of %d bytes", c.MaxLine, start.MaxBatchBytes), "lower max_line")
	}
	var p *position
	if start.Position != nil {
		parsed, err := parsePosition(start.Position)
		if err != nil {
			return nil, sdk.Permanent(err, "reset the positions of this connector")
		}
		p = &parsed
	}
	if err := s.openFile(p); err != nil {
		return nil, err
	}
	return s, nil
}

// openFile opens the file a position speaks of, else the one at the path.
func (s *source) openFile(p *position) error {
	err := s.tail.open(p)
	switch {
	case errors.Is(err, errRewritten) && s.config.OnTruncate == "fail":
		return s.truncated(p)
	case errors.Is(err, errRewritten):
		p = nil
		err = s.tail.open(nil)
	}
	if errors.Is(err, os.ErrNotExist) && s.config.Follow {
		return nil // Next waits for it
	}
	if err != nil {
		return fileError(err)
	}
	s.startAt(p)
	return nil
}

func fileError(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return sdk.Permanent(err, "correct path, or write follow: true to wait for the file")
	}
	return err
}

func (s *source) truncated(p *position) error {
	return sdk.Permanent(
		fmt.Errorf("%s: what was read up to byte %d (line %d) is no longer there: the file was truncated, rewritten or deleted", s.config.Path, p.Offset, p.Line),
		"reset the positions of this connector, or write on_truncate: restart",
	)
}

func (s *source) startAt(p *position) {
	s.lineStart, s.line = 0, 0
	if p != nil {
		s.lineStart, s.line = p.Offset, p.Line
	}
	s.bufStart, s.buf, s.scanned, s.tooLong = s.lineStart, s.buf[:0], 0, nil
	s.checked, s.replaced = true, false
}

// Next reads lines up to the size of a batch, or to the end of the file.
func (s *source) Next(ctx context.Context, out *sdk.Batch) error {
	for {
		if !s.takeLines(out) {
			return nil
		}
		n, err := s.read()
		switch {
		case err != nil:
			return err
		case out.Len() > 0 && (n == 0 || ctx.Err() != nil):
			s.setPosition(out)
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case n > 0:
			continue
		}
		if done, err := s.atEnd(ctx, out); done || err != nil {
			return err
		}
	}
}

// takeLines moves whole lines from buf to out. more is false when out has
// enough.
func (s *source) takeLines(out *sdk.Batch) (more bool) {
	now := time.Now().UnixMilli()
	for {
		i := bytes.IndexByte(s.buf[s.scanned:], '\n')
		if i < 0 {
			s.scanned = len(s.buf)
			s.limitLine()
			return true
		}
		end := s.scanned + i
		if out.Len() > 0 && (out.SizeBytes() >= batchBytes || out.Full(2*end)) {
			s.setPosition(out)
			return false
		}
		s.emit(out, now, s.buf[:end])
		s.consume(end + 1)
	}
}

// limitLine gives up a line that is longer than allowed before its end is seen.
func (s *source) limitLine() {
	if s.tooLong == nil && len(s.buf) <= int(s.config.MaxLine)+1 { // one for a carriage return
		return
	}
	if s.tooLong == nil {
		s.tooLong = append([]byte{}, s.buf[:min(errorPrefixBytes, len(s.buf))]...)
	}
	s.bufStart += int64(len(s.buf))
	s.buf, s.scanned = s.buf[:0], 0
}

// consume takes n bytes, the end of a line, off buf.
func (s *source) consume(n int) {
	s.tail.passed(s.lineStart, s.bufStart, s.buf[:n])
	s.bufStart += int64(n)
	s.buf, s.scanned, s.tooLong = s.buf[n:], 0, nil
	s.lineStart = s.bufStart
	s.line++
}

// emit makes a record, or an error record, of a line without its newline.
func (s *source) emit(out *sdk.Batch, now int64, line []byte) {
	if s.tooLong != nil {
		length := s.bufStart + int64(len(line)) - s.lineStart
		s.emitError(out, s.tooLong, fmt.Sprintf("the line has %d bytes, more than max_line %d; its first bytes are kept", length, s.config.MaxLine))
		return
	}
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if s.lineStart == 0 {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // byte order mark
	}
	switch {
	case len(line) > int(s.config.MaxLine):
		s.emitError(out, line[:errorPrefixBytes], fmt.Sprintf("the line has %d bytes, more than max_line %d; its first bytes are kept", len(line), s.config.MaxLine))
	case s.config.Format == "text":
		out.Append(now, nil, line)
	case len(bytes.TrimSpace(line)) == 0: // blank lines separate, they say nothing
	case !json.Valid(line):
		s.emitError(out, line, "the line is not JSON: "+jsonFault(line))
	case s.config.Key == "":
		out.Append(now, nil, line)
	default:
		raw, found := field(line, s.config.Key)
		if key, ok := keyOf(raw); found && ok {
			out.Append(now, key, line)
		} else {
			s.emitError(out, line, fmt.Sprintf("the line has no field %q to be the key", s.config.Key))
		}
	}
}

func (s *source) emitError(out *sdk.Batch, value []byte, reason string) {
	out.AppendError(nil, value, reason, fmt.Sprintf("%s:%d", s.config.Path, s.line+1))
}

func jsonFault(line []byte) string {
	var v any
	if err := json.Unmarshal(line, &v); err != nil {
		return err.Error()
	}
	return "unknown fault"
}

// read appends what the file has after buf. It returns 0 at the end.
func (s *source) read() (int, error) {
	if s.tail.file == nil {
		return 0, nil
	}
	if !s.checked {
		same, err := s.tail.unchanged(s.lineStart)
		if err != nil {
			return 0, err
		}
		if !same {
			return 0, s.restart()
		}
		s.checked = true
	}
	s.makeRoom()
	n, err := s.tail.file.ReadAt(s.buf[len(s.buf):cap(s.buf)], s.bufStart+int64(len(s.buf)))
	s.buf = s.buf[:len(s.buf)+n]
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("%s: %w", s.config.Path, err)
	}
	return n, nil
}

// makeRoom keeps at least half of readBytes free behind buf, whose size is
// bounded by the line limit.
func (s *source) makeRoom() {
	if cap(s.buf)-len(s.buf) >= readBytes/2 {
		return
	}
	if cap(s.memory)-len(s.buf) < readBytes/2 {
		s.memory = make([]byte, len(s.buf)+readBytes)
	}
	n := copy(s.memory, s.buf)
	s.buf = s.memory[:n]
}

// restart begins anew with what is at the path now.
func (s *source) restart() error {
	if s.config.OnTruncate == "fail" {
		return s.truncated(&position{Offset: s.lineStart, Line: s.line})
	}
	s.tail.close()
	s.startAt(nil)
	return s.openFile(nil)
}

// atEnd decides what the end of the file means: more may come, a successor is
// there, or the source is done.
func (s *source) atEnd(ctx context.Context, out *sdk.Batch) (done bool, err error) {
	if s.tail.file == nil {
		if err := s.openFile(nil); err != nil || s.tail.file != nil {
			return false, err
		}
		return false, s.wait(ctx)
	}
	state, err := s.tail.look(s.bufStart + int64(len(s.buf)))
	if err != nil {
		return false, err
	}
	switch {
	case state == grown:
		return false, nil
	case state == shrunk:
		return false, s.restart()
	case state == replaced && (s.replaced || !s.config.Follow):
		return s.succeed(out)
	case state == replaced:
		s.replaced = true // whoever renamed it may still write a line: look once more
	case !s.config.Follow:
		s.finishLine(out)
		return true, io.EOF
	}
	return false, s.wait(ctx)
}

// succeed goes from a rotated file to the one that took its path. A last line
// without a newline is whole then.
func (s *source) succeed(out *sdk.Batch) (done bool, err error) {
	s.finishLine(out)
	s.tail.close()
	if err := s.openFile(nil); err != nil {
		return false, err
	}
	if s.tail.file != nil {
		s.setPosition(out)
		return true, nil
	}
	return out.Len() > 0, nil
}

// finishLine emits what is left at the end of a file that will not grow.
func (s *source) finishLine(out *sdk.Batch) {
	if len(s.buf) == 0 && s.tooLong == nil {
		return
	}
	s.emit(out, time.Now().UnixMilli(), s.buf)
	s.consume(len(s.buf))
	if out.Len() > 0 {
		s.setPosition(out)
	}
}

func (s *source) setPosition(out *sdk.Batch) {
	out.Position = s.tail.position(s.lineStart, s.line).encode()
}

func (s *source) wait(ctx context.Context) error {
	s.checked = false
	timer := time.NewTimer(s.config.PollInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the file.
func (s *source) Close() error {
	s.tail.close()
	return nil
}
