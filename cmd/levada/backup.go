package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/levada/levada/internal/datadir"
	"github.com/levada/levada/logbroker"
)

func (a *app) backupCommand() *cobra.Command {
	var data string
	c := &cobra.Command{
		Use: "backup DIR --data DATA", Short: "Copy a broker's data directory as it is at one moment, also while it runs", Args: cobra.ExactArgs(1),
		Long: "Makes DIR a data directory of its own: topics, records, groups, transactions, users and rules of one moment. The server goes on; writes wait\n" +
			"for some milliseconds. Sealed segments are not copied but get a second name, so DIR must be in the file system of DATA, and takes little room;\n" +
			"copy it elsewhere with any tool. levada restore makes a data directory of it again.",
		Example: "  levada backup /var/lib/backups/monday --data /var/lib/levada",
		RunE:    func(c *cobra.Command, args []string) error { return a.backup(c, data, args[0]) },
	}
	c.Flags().StringVar(&data, "data", "", "data directory of the server (required)")
	return c
}

func (a *app) backup(c *cobra.Command, data, dir string) error {
	if data == "" {
		return inputError(errors.New("--data is missing: name the data directory of the server"))
	}
	if _, err := os.Stat(filepath.Join(data, datadir.FormatFile)); err != nil {
		return inputError(fmt.Errorf("--data %s is no data directory: %w", data, err))
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return inputError(err)
	}
	if _, err := os.Stat(dir); err == nil {
		return inputError(fmt.Errorf("%s is there already: name a directory that is not", dir))
	}
	if inside, err := isInside(dir, data); err != nil || inside {
		return inputError(errors.Join(fmt.Errorf("%s lies in the data directory %s, whose server would take it for its own: name a directory outside", dir, data), err))
	}
	answer, runs, err := askControl(c.Context(), data, controlRequest{Backup: dir})
	switch {
	case errors.Is(err, errInterrupted):
		return err
	case err != nil:
		return environmentError(err)
	}
	made := answer.Backup
	if !runs {
		if made, err = a.backupStopped(data, dir); err != nil {
			return environmentError(err)
		}
	}
	if a.output == "json" {
		return a.print(c.OutOrStdout(), made, table{})
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s holds %d partitions; writes waited for %v\n", dir, made.Partitions, made.Paused.Round(time.Millisecond/10))
	return err
}

// isInside tells whether a path, which need not be there, lies in a directory.
func isInside(path, dir string) (bool, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return false, err
	}
	for at := path; ; at = filepath.Dir(at) {
		found, err := filepath.EvalSymlinks(at)
		if errors.Is(err, os.ErrNotExist) && at != filepath.Dir(at) {
			continue // its parent is
		}
		if err != nil {
			return false, err
		}
		rel, err := filepath.Rel(real, found)
		return err == nil && filepath.IsLocal(rel), nil
	}
}

// backupStopped backs up a directory over which no server runs.
func (a *app) backupStopped(data, dir string) (*logbroker.Backup, error) {
	keepToOwner()
	broker, err := logbroker.Open(logbroker.Config{Dir: data, Logger: a.logger(true)})
	if err != nil {
		return nil, err
	}
	made, err := broker.Backup(dir)
	return &made, errors.Join(err, broker.Close())
}

func (a *app) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restore BACKUP DATA", Short: "Make a data directory of a backup, and check every byte of it", Args: cobra.ExactArgs(2),
		Long: "Copies BACKUP to DATA, which must not be there or be empty, makes the copy durable, and checks it as levada log verify does. BACKUP stays as it is.\n" +
			"If anything is damaged DATA is removed again, and the exit code is 1.",
		Example: "  levada restore /var/lib/backups/monday /var/lib/levada",
		RunE:    func(c *cobra.Command, args []string) error { return a.restore(c, args[0], args[1]) },
	}
}

func (a *app) restore(c *cobra.Command, backup, data string) error {
	keepToOwner()
	if _, err := os.Stat(filepath.Join(backup, datadir.FormatFile)); err != nil {
		return inputError(fmt.Errorf("%s is no backup: %w", backup, err))
	}
	if names, err := os.ReadDir(data); err == nil && len(names) > 0 {
		return inputError(fmt.Errorf("%s is not empty: name another directory, or move what is there away", data))
	}
	data, err := filepath.Abs(data) // the directory that it names may be the one we are in
	if err != nil {
		return inputError(err)
	}
	if inside, err := isInside(data, backup); err != nil || inside {
		return inputError(errors.Join(fmt.Errorf("%s lies in the backup %s, which stays as it is: name a directory outside", data, backup), err))
	}
	// What is not whole has another name, under which no server looks for it.
	part := data + ".restoring"
	if err := os.RemoveAll(part); err != nil {
		return environmentError(err)
	}
	files, bytes, err := copyTree(c.Context(), backup, part)
	if errors.Is(err, errInterrupted) {
		return errors.Join(err, os.RemoveAll(part))
	}
	if err != nil {
		return environmentError(errors.Join(fmt.Errorf("copy %s: %w", backup, err), os.RemoveAll(part)))
	}
	err = logbroker.CheckBackup(vfs.Default, part)
	if err == nil {
		err = a.verifyLogs(c, []string{part}, renamed{part, data, backup})
	}
	if errors.Is(err, errInterrupted) {
		return errors.Join(err, os.RemoveAll(part))
	}
	if err != nil {
		err = &retoldError{err, strings.ReplaceAll(err.Error(), part, backup)}
		return errors.Join(fmt.Errorf("the backup is damaged and %s was not made: %w", data, err), os.RemoveAll(part))
	}
	if err := logbroker.ForgetBackup(vfs.Default, part); err != nil {
		return environmentError(err)
	}
	if err := os.Remove(data); err != nil && !errors.Is(err, os.ErrNotExist) {
		return environmentError(err)
	}
	if err := os.Rename(part, data); err != nil {
		return environmentError(err)
	}
	if err := datadir.SyncDir(vfs.Default, filepath.Dir(filepath.Clean(data))); err != nil {
		return environmentError(err)
	}
	if a.output == "json" {
		return nil // what was verified has been printed
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s: %s files, %d bytes, all checked; start it with: %s server --data %s\n", data, strconv.Itoa(files), bytes, program, data)
	return err
}

// renamed is a directory whose files are told under another name: that which it has later, or
// if something is damaged that of what it is a copy of.
type renamed struct{ dir, whole, damaged string }

func (r renamed) tell(rows []verifiedRow, notes []string, damaged bool) {
	if r.dir == "" {
		return
	}
	name := r.whole
	if damaged {
		name = r.damaged
	}
	each := func(texts []string) {
		for i := range texts {
			texts[i] = strings.ReplaceAll(texts[i], r.dir, name)
		}
	}
	each(notes)
	for i := range rows {
		rows[i].Partition = strings.ReplaceAll(rows[i].Partition, r.dir, name)
		each(rows[i].Damage)
		each(rows[i].Rebuilt)
	}
}

// retoldError is an error in other words.
type retoldError struct {
	err  error
	text string
}

func (e *retoldError) Error() string { return e.text }
func (e *retoldError) Unwrap() error { return e.err }

// copyTree copies a directory, durably, unless a signal ends it.
func copyTree(ctx context.Context, from, to string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular():
			return nil // a socket
		}
		n, err := copyFile(ctx, path, target)
		files, bytes = files+1, bytes+n
		return err
	})
	if err != nil {
		return files, bytes, err
	}
	// Names are durable when their directories are.
	return files, bytes, filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return datadir.SyncDir(vfs.Default, path)
	})
}

// copyStep is how much is copied between two looks at whether a signal has come.
const copyStep = 64 << 20

func copyFile(ctx context.Context, from, to string) (n int64, err error) {
	source, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	for err == nil {
		var step int64
		step, err = io.CopyN(target, source, copyStep)
		n += step
		if ctx.Err() != nil {
			err = errInterrupted
		}
	}
	if errors.Is(err, io.EOF) {
		err = target.Sync()
	}
	return n, errors.Join(err, target.Close())
}
