package commitlog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// script is a log that a text drives.
type script struct {
	t   *testing.T
	fs  *vfs.MemFS
	cfg Config
	log *Log
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		s := &script{t: t}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := s.run(d)
			if err != nil {
				out += "error: " + err.Error() + "\n"
			}
			if out == "" {
				out = "ok\n"
			}
			return out
		})
	})
}

func (s *script) run(d *datadriven.TestData) (string, error) {
	if s.log == nil && d.Cmd != "new" {
		return "", errors.New("begin with new")
	}
	switch d.Cmd {
	case "new":
		s.fs = crashableDir(s.t)
		s.cfg = testConfig(s.fs)
		s.scan(d, "segment_bytes", &s.cfg.SegmentBytes)
		s.scan(d, "epoch", &s.cfg.LeaderEpoch)
		return "", s.open()
	case "close":
		s.cfg.Cleanly = true
		return "", s.log.Close()
	case "kill":
		s.cfg.Cleanly = false
		closeQuietly(s.log)
		return "", nil
	case "crash":
		closeQuietly(s.log)
		s.fs = s.fs.CrashClone(vfs.CrashCloneCfg{})
		s.cfg.FS, s.cfg.Cleanly = s.fs, false
		return "", nil
	case "open":
		s.scan(d, "epoch", &s.cfg.LeaderEpoch)
		s.scan(d, "start", &s.cfg.LogStart)
		return "", s.open()
	case "append":
		return s.append(d)
	case "marker":
		return s.marker(d)
	case "decide":
		var id int64
		var epoch int16
		s.scan(d, "pid", &id)
		s.scan(d, "epoch", &epoch)
		s.log.Decide(id, epoch, d.HasArg("commit"))
		return "", nil
	case "sync":
		return "", s.log.Sync()
	case "delete-to":
		var offset int64
		s.scan(d, "offset", &offset)
		return "", s.log.DeleteTo(offset)
	case "state":
		return s.state(), nil
	case "read":
		return s.read(d)
	case "aborted":
		to := int64(math.MaxInt64)
		var from int64
		s.scan(d, "from", &from)
		s.scan(d, "to", &to)
		return aborted(s.log.Aborted(from, to)), nil
	case "time":
		return s.time(d)
	case "epoch-end":
		var epoch int32
		s.scan(d, "epoch", &epoch)
		e, end := s.log.EpochEnd(epoch)
		return fmt.Sprintf("epoch %d ends at %d\n", e, end), nil
	case "files":
		names, err := s.fs.List(testDir)
		return strings.Join(slices.Sorted(slices.Values(names)), "\n") + "\n", err
	}
	return "", fmt.Errorf("unknown command %q", d.Cmd)
}

func (s *script) scan(d *datadriven.TestData, name string, to any) {
	if d.HasArg(name) {
		d.ScanArgs(s.t, name, to)
	}
}

func (s *script) open() error {
	l, err := Open(s.cfg)
	if err == nil {
		s.log = l
	}
	return err
}

// append takes values as input, a line each: "ms value".
func (s *script) append(d *datadriven.TestData) (string, error) {
	var from source
	if d.HasArg("pid") {
		s.scan(d, "pid", &from.id)
		s.scan(d, "epoch", &from.epoch)
		s.scan(d, "seq", &from.sequence)
		from.transactional = d.HasArg("txn")
	}
	ms := int64(1)
	s.scan(d, "ms", &ms)
	res, err := s.log.Append(makeBatch(from, ms, strings.Fields(d.Input)...), nil)
	if err != nil {
		return "", err
	}
	again := ""
	if res.Duplicate {
		again = " duplicate"
	}
	return fmt.Sprintf("offsets %d to %d%s\n", res.BaseOffset, res.LastOffset, again), nil
}

func (s *script) marker(d *datadriven.TestData) (string, error) {
	var id int64
	var epoch int16
	s.scan(d, "pid", &id)
	s.scan(d, "epoch", &epoch)
	offset, appended, err := s.log.AppendMarker(Marker{ProducerID: id, Epoch: epoch, Commit: d.HasArg("commit"), CoordinatorEpoch: 1})
	if err != nil {
		return "", err
	}
	if !appended {
		return "nothing is open\n", nil
	}
	return fmt.Sprintf("offset %d\n", offset), nil
}

func (s *script) state() string {
	var b strings.Builder
	l := s.log
	fmt.Fprintf(&b, "start %d stable %d synced %d end %d segments %d\n", l.Start(), l.LastStable(), l.SyncedEnd(), l.End(), len(*l.segments.Load()))
	for _, t := range l.OpenTransactions() {
		fmt.Fprintf(&b, "open: pid %d epoch %d since %d", t.ProducerID, t.Epoch, t.FirstOffset)
		if t.Decided {
			fmt.Fprintf(&b, " decided commit=%t", t.Commit)
		}
		b.WriteByte('\n')
	}
	for _, p := range l.Producers() {
		fmt.Fprintf(&b, "pid %d epoch %d sequence %d\n", p.ProducerID, p.Epoch, p.LastSequence)
	}
	return b.String() + aborted(l.Aborted(0, math.MaxInt64))
}

func aborted(txns []AbortedTxn) string {
	var b strings.Builder
	for _, t := range txns {
		last := fmt.Sprint(t.LastOffset)
		if t.LastOffset == math.MaxInt64 {
			last = "open end"
		}
		fmt.Fprintf(&b, "aborted: pid %d from %d to %s\n", t.ProducerID, t.FirstOffset, last)
	}
	return b.String()
}

func (s *script) read(d *datadriven.TestData) (string, error) {
	var offset int64
	end, maxBytes := s.log.End(), 1<<20
	s.scan(d, "offset", &offset)
	s.scan(d, "end", &end)
	s.scan(d, "max", &maxBytes)
	chunk, err := s.log.Read(offset, end, maxBytes, d.HasArg("min-one"), nil)
	if err != nil || len(chunk) == 0 {
		return "nothing\n", err
	}
	var b strings.Builder
	for _, v := range splitValues(s.t, chunk) {
		fmt.Fprintf(&b, "%d: %s\n", v.offset, v.value)
	}
	return b.String(), nil
}

func (s *script) time(d *datadriven.TestData) (string, error) {
	var offset, ts int64
	var ok bool
	var err error
	if d.HasArg("max") {
		offset, ts, ok, err = s.log.MaxTimestamp()
	} else {
		var ms int64
		s.scan(d, "ms", &ms)
		offset, ts, ok, err = s.log.OffsetForTime(ms)
	}
	if !ok || err != nil {
		return "none\n", err
	}
	return fmt.Sprintf("offset %d at %d\n", offset, ts), nil
}
