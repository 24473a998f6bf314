package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker/commitlog"
)

func (a *app) logDumpCommand() *cobra.Command {
	var records bool
	c := &cobra.Command{
		Use: "dump PATH…", Short: "Print every batch of partitions or segments", Args: cobra.MinimumNArgs(1),
		Long:    "Prints every batch of data directories, partitions or single segments, a line each, and\nchanges nothing. What is wrong is said on standard error; exit code 1: records are damaged.",
		Example: "  levada log dump /var/lib/levada/logs/orders-0 --records",
		RunE:    func(c *cobra.Command, paths []string) error { return a.dumpLogs(c, paths, records) },
	}
	c.Flags().BoolVar(&records, "records", false, "print the records, too")
	return c
}

func (a *app) dumpLogs(c *cobra.Command, paths []string, records bool) error {
	damaged := 0
	for _, path := range paths {
		dirs, _, err := partitionsUnder(path)
		if err != nil {
			return err
		}
		for _, dir := range dirs {
			d := dumper{app: a, c: c, records: records}
			if strings.HasSuffix(path, ".log") {
				d.only = filepath.Clean(path)
			}
			_, err := commitlog.Inspector{FS: vfs.Default, Dir: dir, Batch: d.batch, Fault: func(f commitlog.Fault) {
				fmt.Fprintln(c.ErrOrStderr(), "levada:", printable(f.String()))
				if !f.Derived {
					damaged++
				}
			}}.Inspect()
			if errors.Is(err, errInterrupted) {
				return err
			}
			if err != nil {
				return environmentError(err)
			}
		}
	}
	if damaged > 0 {
		return fmt.Errorf("%s records", faultsDamage(damaged))
	}
	return nil
}

// dumper prints batches.
type dumper struct {
	app     *app
	c       *cobra.Command
	records bool
	only    string // the segment that is asked for; empty for all
}

// dumpedBatch is a batch as it is printed.
type dumpedBatch struct {
	File             string         `json:"file"`
	Position         int64          `json:"position"`
	BaseOffset       int64          `json:"base_offset"`
	LastOffset       int64          `json:"last_offset"`
	Records          int32          `json:"records"`
	Bytes            int            `json:"bytes"`
	LeaderEpoch      int32          `json:"leader_epoch"`
	ProducerID       int64          `json:"producer_id"`
	ProducerEpoch    int16          `json:"producer_epoch"`
	BaseSequence     int32          `json:"base_sequence"`
	Codec            string         `json:"codec"`
	TimestampType    string         `json:"timestamp_type"`
	BaseTimestampMs  int64          `json:"base_timestamp_ms"`
	MaxTimestampMs   int64          `json:"max_timestamp_ms"`
	Transactional    bool           `json:"transactional"`
	Control          string         `json:"control,omitempty"`
	DeleteHorizonMs  *int64         `json:"delete_horizon_ms,omitempty"` // when compaction may remove its tombstones or marker
	CRCValid         bool           `json:"crc_valid"`
	RecordsOfTheLine []dumpedRecord `json:"values,omitempty"`
}

// dumpedRecord is a record as it is printed, with keys and values as consume prints them.
type dumpedRecord struct {
	Offset      int64        `json:"offset"`
	TimestampMs int64        `json:"timestamp_ms"`
	Key         *string      `json:"key"`
	KeyBase64   []byte       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 []byte       `json:"value_base64,omitempty"`
	Headers     []headerJSON `json:"headers,omitempty"`
	Fault       string       `json:"fault,omitempty"`
}

// String is the record in one line.
func (r dumpedRecord) String() string {
	if r.Fault != "" {
		return r.Fault
	}
	line := fmt.Sprintf("%d %d %s=%s", r.Offset, r.TimestampMs, shownBytes(r.Key, r.KeyBase64), shownBytes(r.Value, r.ValueBase64))
	for i, h := range r.Headers {
		line += map[bool]string{true: " headers ", false: ","}[i == 0] + h.Key + "=" + shownBytes(h.Value, h.ValueBase64)
	}
	return line
}

// shownBytes is text as it is, other bytes in Go's manner, and null.
func shownBytes(text *string, other []byte) string {
	switch {
	case text != nil:
		return *text
	case other != nil:
		return strconv.QuoteToASCII(string(other))
	}
	return "null"
}

func (d dumper) batch(path string, position int64, b recordbatch.Batch) error {
	if err := interrupted(d.c.Context()); err != nil {
		return err
	}
	if d.only != "" && filepath.Clean(path) != d.only {
		return nil
	}
	out := describeBatch(path, position, b)
	if d.records && !b.IsControl() && out.CRCValid {
		out.RecordsOfTheLine = describeRecords(b)
	}
	if d.app.output == "json" {
		return d.app.print(d.c.OutOrStdout(), out, table{})
	}
	segment := filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))
	line := fmt.Sprintf("%s@%d offsets %d-%d records %d bytes %d epoch %d producer %d/%d sequence %d codec %s %s %d-%d",
		segment, position, out.BaseOffset, out.LastOffset, out.Records, out.Bytes, out.LeaderEpoch, out.ProducerID, out.ProducerEpoch,
		out.BaseSequence, out.Codec, out.TimestampType, out.BaseTimestampMs, out.MaxTimestampMs)
	if out.Transactional {
		line += " transactional"
	}
	if out.Control != "" {
		line += " " + out.Control
	}
	if out.DeleteHorizonMs != nil {
		line += fmt.Sprintf(" delete horizon %d", *out.DeleteHorizonMs)
	}
	if !out.CRCValid {
		line += " CRC WRONG"
	}
	if _, err := fmt.Fprintln(d.c.OutOrStdout(), line); err != nil {
		return err
	}
	for _, r := range out.RecordsOfTheLine {
		if _, err := fmt.Fprintln(d.c.OutOrStdout(), printable("  "+r.String())); err != nil {
			return err
		}
	}
	return nil
}

func describeBatch(path string, position int64, b recordbatch.Batch) dumpedBatch {
	out := dumpedBatch{
		File: path, Position: position, BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), Records: b.Count(), Bytes: len(b),
		LeaderEpoch: b.LeaderEpoch(), ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(),
		Codec: fmt.Sprint(b.Codec()), TimestampType: "CreateTime", BaseTimestampMs: b.BaseTimestamp(), MaxTimestampMs: b.MaxTimestamp(),
		Transactional: b.IsTransactional(), CRCValid: b.Validate() == nil,
	}
	if ms, ok := b.DeleteHorizon(); ok {
		out.DeleteHorizonMs = &ms
	}
	if b.IsLogAppendTime() {
		out.TimestampType = "LogAppendTime"
	}
	if b.IsControl() {
		out.Control = "control"
		if m, err := recordbatch.ParseMarker(b); err == nil {
			out.Control = map[bool]string{true: "commit", false: "abort"}[m.Commit]
		}
	}
	return out
}

func describeRecords(b recordbatch.Batch) (out []dumpedRecord) {
	var rd recordbatch.Reader
	var rec recordbatch.Record
	if err := rd.Reset(b); err != nil {
		return []dumpedRecord{{Fault: err.Error()}}
	}
	for {
		ok, err := rd.Next(&rec)
		if err != nil {
			return append(out, dumpedRecord{Fault: err.Error()})
		}
		if !ok {
			return out
		}
		r := dumpedRecord{Offset: rec.Offset, TimestampMs: rec.Timestamp}
		r.Key, r.KeyBase64 = textOrBase64(rec.Key)
		r.Value, r.ValueBase64 = textOrBase64(rec.Value)
		headers, err := rec.Headers.Decode()
		if err != nil {
			return append(out, dumpedRecord{Fault: fmt.Sprintf("headers of offset %d: %v", rec.Offset, err)})
		}
		for _, h := range headers {
			r.Headers = append(r.Headers, shownHeader(h.Key, h.Value))
		}
		out = append(out, r)
	}
}
