package host

import (
	"errors"
	"testing"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// sizeWriter counts what the log is given.
type sizeWriter struct {
	logclient.Writer // the methods not used here panic
	t                *testing.T
	bytes, records   int
}

func (w *sizeWriter) Append(_ logclient.TopicPartition, b recordbatch.Batch) error {
	b.SetCRC()
	if err := b.Validate(); err != nil {
		w.t.Fatalf("the log was given a batch that is none: %v", err)
	}
	w.bytes += len(b)
	err := eachRaw(b, func(r *recordbatch.Record) error {
		w.records++
		_, err := r.Headers.Decode()
		return err
	})
	if err != nil {
		w.t.Fatalf("the log was given records that are none: %v", err)
	}
	return nil
}

// FuzzAddRecords takes any bytes as the records of a plugin. It must not
// panic, hold more than a multiple of them, hand anything unreadable to the
// log, nor take a plugin's fault for one of the log.
func FuzzAddRecords(f *testing.F) {
	f.Add(oddBatch(func(recordbatch.Batch) {}).Records)
	f.Add(oddBatch(func(b recordbatch.Batch) { b[len(b)-1] = 4 }).Records)
	f.Add(oddBatch(func(b recordbatch.Batch) { b[22] |= byte(recordbatch.CodecGzip) }).Records)
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) >= recordbatch.HeaderSize { // else nothing gets past the CRC
			if b, _, err := recordbatch.Split(p); err == nil {
				b.SetCRC()
			}
		}
		w := &sizeWriter{t: t}
		r := &sourceSession{config: &SourceConfig{Config: Config{Name: "n"}}, out: newOutbox(w, "t", 2)}
		if err := r.addRecords(p); err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Retryable || e.Stage != "read" {
				t.Fatalf("got %v, want a final error of the plugin", err)
			}
			return
		}
		if err := r.out.flush(); err != nil {
			t.Fatal(err)
		}
		// A record takes 7 bytes at least, and one byte more for each of the
		// three numbers that are encoded anew.
		if w.bytes > 20*len(p)+200 || w.records > len(p) {
			t.Fatalf("%d bytes became %d records of %d bytes", len(p), w.records, w.bytes)
		}
	})
}
