package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/levada/levada/internal/datadir"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/logbroker"
	"github.com/levada/levada/logbroker/commitlog"
	"github.com/levada/levada/logbroker/meta"
)

func (a *app) logCommand() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Look at the files of a broker, without changing them"}
	c.AddCommand(a.logVerifyCommand(), a.logDumpCommand())
	return c
}

func (a *app) logVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify PATH…", Short: "Check every batch, checksum and index of data directories or partitions", Args: cobra.MinimumNArgs(1),
		Long:    "Checks the files of data directories, or of single partitions, and changes nothing. A\nbroker may be running: what it appends meanwhile is not looked at, and its own\ndatabase is only checked when it does not run. Exit code 1: records are damaged.",
		Example: "  levada log verify /var/lib/levada",
		RunE:    func(c *cobra.Command, paths []string) error { return a.verifyLogs(c, paths, renamed{}) },
	}
}

func faultsDamage(n int) string {
	if n == 1 {
		return "1 fault damages"
	}
	return fmt.Sprintf("%d faults damage", n)
}

// verifiedRow is one partition as it is reported.
type verifiedRow struct {
	Partition string   `json:"partition"`
	Segments  int      `json:"segments"`
	Sealed    int      `json:"sealed"`
	Batches   int64    `json:"batches"`
	Records   int64    `json:"records"`
	Bytes     int64    `json:"bytes"`
	Start     int64    `json:"start"`
	End       int64    `json:"end"`
	Damage    []string `json:"damage"`
	Rebuilt   []string `json:"rebuilt_at_start"`
	unseen    bool     // it could not be looked at
}

func (a *app) verifyLogs(c *cobra.Command, paths []string, as renamed) error {
	var rows []verifiedRow
	var notes []string
	damaged := 0
	var unseen []error
	for _, path := range paths {
		dirs, isData, err := partitionsUnder(path)
		if err != nil {
			return err
		}
		var named *meta.Contents
		if isData {
			contents, note, bad := checkMeta(filepath.Join(path, "meta"))
			named, notes, damaged = contents, append(notes, note), damaged+bad
			if fault := formatFault(filepath.Join(path, datadir.FormatFile)); fault != "" {
				notes, damaged = append(notes, fault), damaged+1
			}
		}
		var found []verifiedRow
		starts := logStarts(named)
		for _, dir := range dirs {
			row, err := verifyPartition(c.Context(), dir, lastEpoch(named), starts[filepath.Base(dir)])
			if errors.Is(err, errInterrupted) {
				return err
			}
			if row.unseen = err != nil; row.unseen {
				unseen = append(unseen, err)
			}
			found = append(found, row)
		}
		if named != nil {
			found = holdAgainst(found, filepath.Join(path, "logs"), named)
		}
		rows = append(rows, found...)
	}
	for _, row := range rows {
		damaged += len(row.Damage)
	}
	as.tell(rows, notes, damaged > 0 || len(unseen) > 0)
	if err := a.printVerified(c, rows, notes); err != nil {
		return err
	}
	if damaged > 0 {
		return errors.Join(append(unseen, fmt.Errorf("%s what is stored; restore the files that are named from a backup", faultsDamage(damaged)))...)
	}
	if len(unseen) > 0 {
		return environmentError(errors.Join(unseen...))
	}
	return nil
}

// formatFault is why a server would not start over the directory of this file, if its
// format is not there or is another; otherwise nothing.
func formatFault(file string) string {
	b, err := os.ReadFile(file)
	switch have := strings.TrimSpace(string(b)); {
	case err != nil:
		return fmt.Sprintf("%v; restore it from a backup", err)
	case have != logbroker.DataFormat:
		return fmt.Sprintf("%s: it says %q, this program reads %q; restore it from a backup, or use the program that wrote the directory", file, have, logbroker.DataFormat)
	}
	return ""
}

// checkMeta checks the broker's database, if no broker has it open. contents is nil
// where what it names is not known for certain.
func checkMeta(dir string) (contents *meta.Contents, note string, faults int) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Sprintf("%s: %v", dir, err), 1
	}
	c, err := meta.Check(vfs.Default, dir)
	switch {
	case errors.Is(err, meta.ErrInUse):
		return nil, dir + ": in use by a broker, not checked", 0
	case err != nil:
		return nil, err.Error(), 1
	}
	return &c, fmt.Sprintf("%s: %d rows, all can be read", dir, c.Rows), 0
}

// holdAgainst compares the partitions that were found with those that the database
// names: each of them has to be there from its log start on, and no other.
func holdAgainst(found []verifiedRow, logs string, named *meta.Contents) []verifiedRow {
	at := map[string]int{}
	for i, row := range found {
		at[row.Partition] = i
	}
	known := map[string]bool{}
	dirOf := func(t meta.Topic, i int32) string { return filepath.Join(logs, t.Name+"-"+strconv.Itoa(int(i))) }
	for _, t := range named.Topics {
		for i := range t.Partitions {
			dir := dirOf(t, i)
			known[dir] = true
			n, there := at[dir]
			start := named.LogStarts[meta.Partition{Topic: t.ID, Index: i}]
			switch {
			case i >= t.Made && (!there || found[n].Segments == 0): // a start makes it
			case there && found[n].unseen:
			case !there:
				what := dir + ": the database names this partition, and its directory is not there; restore it from a backup"
				found = append(found, verifiedRow{Partition: dir, Damage: []string{what}, Rebuilt: []string{}})
			case found[n].Segments == 0:
				found[n].Damage = append(found[n].Damage, dir+": the database names this partition, and no segment is there; restore them from a backup")
			case found[n].Start > start:
				what := fmt.Sprintf("%s: the first segment begins at offset %d, and the log start is %d; restore what is before it from a backup", dir, found[n].Start, start)
				found[n].Damage = append(found[n].Damage, what)
			}
		}
	}
	for _, t := range named.Deleted {
		for i := range t.Partitions {
			known[dirOf(t, i)] = true // the next start removes it
		}
	}
	for i, row := range found {
		if !known[row.Partition] {
			found[i].Damage = append(row.Damage, row.Partition+": the database names no such partition; move it away, or restore the database from a backup")
		}
	}
	return found
}

// lastEpoch is the leader epoch of the last start, 0 if that is not known.
func lastEpoch(named *meta.Contents) int32 {
	if named == nil {
		return 0
	}
	epoch, err := strconv.ParseInt(string(named.System["epoch"]), 10, 32)
	if err != nil {
		return 0
	}
	return int32(epoch)
}

// logStarts are the first offsets that were not deleted, by the name of the partition's
// directory.
func logStarts(named *meta.Contents) map[string]int64 {
	starts := map[string]int64{}
	if named == nil {
		return starts
	}
	for _, t := range named.Topics {
		for i := range t.Partitions {
			if start, known := named.LogStarts[meta.Partition{Topic: t.ID, Index: i}]; known {
				starts[t.Name+"-"+strconv.Itoa(int(i))] = start
			}
		}
	}
	return starts
}

// swapPatience is for how long a compaction that is being finished is waited for, which
// takes a running broker some milliseconds.
const swapPatience = 5 * time.Second

// verifyPartition looks again where a compaction came between.
func verifyPartition(ctx context.Context, dir string, maxEpoch int32, logStart int64) (verifiedRow, error) {
	until := time.Now().Add(swapPatience)
	for {
		row, err := verifyOnce(ctx, dir, maxEpoch, logStart)
		if !errors.Is(err, commitlog.ErrSwapping) || time.Now().After(until) {
			return row, err
		}
		select {
		case <-ctx.Done():
			return row, errInterrupted
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func verifyOnce(ctx context.Context, dir string, maxEpoch int32, logStart int64) (verifiedRow, error) {
	row := verifiedRow{Partition: dir, Damage: []string{}, Rebuilt: []string{}}
	goOn := func(string, int64, recordbatch.Batch) error { return interrupted(ctx) }
	sum, err := commitlog.Inspector{FS: vfs.Default, Dir: dir, MaxEpoch: maxEpoch, LogStart: logStart, Batch: goOn, Fault: func(f commitlog.Fault) {
		if f.Derived {
			row.Rebuilt = append(row.Rebuilt, f.String())
		} else {
			row.Damage = append(row.Damage, f.String())
		}
	}}.Inspect()
	row.Segments, row.Sealed, row.Batches, row.Records, row.Bytes = sum.Segments, sum.Sealed, sum.Batches, sum.Records, sum.Bytes
	row.Start, row.End = sum.Start, sum.End
	return row, err
}

func (a *app) printVerified(c *cobra.Command, rows []verifiedRow, notes []string) error {
	if a.output == "json" {
		return a.print(c.OutOrStdout(), map[string]any{"partitions": rows, "notes": notes}, table{})
	}
	t := table{header: []string{"PARTITION", "SEGMENTS", "SEALED", "BATCHES", "RECORDS", "BYTES", "START", "END", "DAMAGE"}, empty: "no partitions"}
	for _, r := range rows {
		t.rows = append(t.rows, []string{
			r.Partition, strconv.Itoa(r.Segments), strconv.Itoa(r.Sealed), strconv.FormatInt(r.Batches, 10), strconv.FormatInt(r.Records, 10),
			strconv.FormatInt(r.Bytes, 10), strconv.FormatInt(r.Start, 10), strconv.FormatInt(r.End, 10), strconv.Itoa(len(r.Damage)),
		})
		notes = append(notes, r.Rebuilt...)
		notes = append(notes, r.Damage...)
	}
	if err := a.print(c.OutOrStdout(), nil, t); err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(c.OutOrStdout(), printable(n))
	}
	return nil
}

const mendPath = "name a data directory, the directory of a partition, or a segment"

// partitionsUnder are the directories of the partitions that a path names: a data
// directory, a partition's, or a segment's file.
func partitionsUnder(path string) (dirs []string, isData bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, inputError(fmt.Errorf("%w; %s", err, mendPath))
	}
	neither := inputError(fmt.Errorf("%s is no data directory, partition or segment; %s", path, mendPath))
	switch {
	case !info.IsDir() && commitlog.IsSegment(path):
		return []string{filepath.Dir(path)}, false, nil
	case !info.IsDir():
		return nil, false, neither
	case !isDataDir(path):
		if entries, err := os.ReadDir(path); err != nil {
			return nil, false, environmentError(err)
		} else if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return commitlog.IsSegment(e.Name()) }) {
			return nil, false, neither
		}
		return []string{path}, false, nil
	}
	logs := filepath.Join(path, "logs")
	entries, err := os.ReadDir(logs)
	if errors.Is(err, os.ErrNotExist) {
		return nil, true, nil // its database says what should be there
	}
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(logs, e.Name()))
		}
	}
	return dirs, true, err
}

// isDataDir tells whether a directory is a broker's data directory, or what is left
// of one: it has a format and one of what a broker keeps, or both of that.
func isDataDir(path string) bool {
	n := 0
	for _, name := range []string{datadir.FormatFile, "logs", "meta"} {
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			n++
		}
	}
	return n >= 2
}

// interrupted is errInterrupted when a signal has come.
func interrupted(ctx context.Context) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return nil
}
