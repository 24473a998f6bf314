package logbroker

import (
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// TestWhyPartitionsAreOffline: only damage is called so. What is wrong otherwise is said with
// what to do, and is over when that is.
func TestWhyPartitionsAreOffline(t *testing.T) {
	for name, test := range map[string]struct {
		op   errorfs.OpKind
		err  error
		want string
	}{
		"too many files":   {errorfs.OpOpen, syscall.EMFILE, "too many files are open: raise the limit of open files"},
		"a bad sector":     {errorfs.OpFileReadAt, syscall.EIO, "look at the disk and the log of the kernel"},
		"another's files":  {errorfs.OpOpen, syscall.EACCES, "give them to the user that the broker runs as"},
		"a full disk":      {errorfs.OpOpen, syscall.ENOSPC, "make room"},
		"something else":   {errorfs.OpOpen, syscall.ELOOP, "mend what the error says"},
		"of the directory": {errorfs.OpStat, syscall.EACCES, "give them to the user that the broker runs as"},
		"no directory":     {errorfs.OpStat, os.ErrNotExist, "partition has no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t)
			w.topic("t", 1)
			w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
			w.Kill()
			var log syncBuffer
			w.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			w.cfg.BootID = func() string { return "boot-2" } // all is read
			var faulty atomic.Bool                           // the database has goroutines
			faulty.Store(true)
			w.cfg.FS = errorfs.Wrap(w.fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
				if faulty.Load() && op.Kind == test.op && (strings.HasSuffix(op.Path, ".log") && strings.Contains(op.Path, "/t-0/") || strings.HasSuffix(op.Path, "/t-0")) {
					return &os.PathError{Op: "open", Path: op.Path, Err: test.err}
				}
				return nil
			}))
			w.open()
			w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, kerr.KafkaStorageError)
			if text := log.String(); !strings.Contains(text, test.want) || strings.Contains(text, "partition is damaged") {
				t.Errorf("the log:\n%s", text)
			}
			faulty.Store(false)
			w.restart()
			w.want(w.produce(9, nil, 0, oneRecord(-1, -1, -1, false, "v")).ErrorCode, nil)
		})
	}
}
