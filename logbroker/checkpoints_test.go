package logbroker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// checkpointOf is the file of checkpoints of a partition, nil if there is none.
func (w *workbench) checkpointOf(topic string, partition int32) []byte {
	w.t.Helper()
	f, err := w.fs.Open(w.fs.PathJoin(w.topics.dir(topic, partition), "levada-checkpoint"))
	if err != nil {
		return nil
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// TestCheckpointsComeAgain: each time that so much was written there are new checkpoints,
// and not more often.
func TestCheckpointsComeAgain(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Limits.RecoveryBytes = 10_000
	w.open()
	w.topic("t", 1)
	changes, have := 0, w.checkpointOf("t", 0)
	for range 50 {
		w.want(w.produce(12, nil, 0, oneRecord(-1, -1, -1, false, string(make([]byte, 1000)))).ErrorCode, nil)
		if now := w.checkpointOf("t", 0); !bytes.Equal(now, have) {
			changes, have = changes+1, now
			if since := w.checkpoints.since.Load(); since != 0 {
				t.Errorf("%d bytes are counted as written since the checkpoint", since)
			}
		}
	}
	if changes != 5 {
		t.Errorf("%d checkpoints for 50 kB, want one for each 10", changes)
	}
}

// TestCheckpointsAreOfEveryLog: they are written of all logs that took a part in it that
// too much has no checkpoint, though none of them grew by so much itself.
func TestCheckpointsAreOfEveryLog(t *testing.T) {
	const partitions = 4
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Limits.RecoveryBytes = partitions * 2 * minCheckpoint
	w.open()
	w.topic("t", partitions)
	before := map[int32][]byte{}
	for i := range int32(partitions) {
		before[i] = w.checkpointOf("t", i)
	}
	for i := range int32(partitions) {
		w.want(w.produce(12, nil, i, oneRecord(-1, -1, -1, false, string(make([]byte, 2*minCheckpoint)))).ErrorCode, nil)
	}
	for i := range int32(partitions) {
		if bytes.Equal(w.checkpointOf("t", i), before[i]) {
			t.Errorf("partition %d has no checkpoint of what was written", i)
		}
	}
}

// beginsFS notes of which directories checkpoints are begun, and whether one is at a time.
type beginsFS struct {
	vfs.FS
	mu     sync.Mutex
	begun  []string
	now    int
	atOnce int // at most
}

type beginsFile struct {
	vfs.File
	fs *beginsFS
}

func (f *beginsFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err != nil || !strings.HasPrefix(f.PathBase(name), "levada-checkpoint.next") {
		return file, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun, f.now = append(f.begun, f.PathDir(name)), f.now+1
	f.atOnce = max(f.atOnce, f.now)
	return &beginsFile{file, f}, nil
}

func (f *beginsFile) Close() error {
	f.fs.mu.Lock()
	f.fs.now--
	f.fs.mu.Unlock()
	return f.File.Close()
}

// TestCheckpointsHoldNobodyUp: a log takes no record while its checkpoint is begun. Who writes to
// many logs, one after another, must not come behind, and wait for each: so it is one at a time,
// and the next is none that a client would write to next.
func TestCheckpointsHoldNobodyUp(t *testing.T) {
	const partitions = 64
	fs := &beginsFS{FS: vfs.NewMem()}
	b, err := Open(Config{Dir: "/data", FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.topics.create("t", partitions, nil, false); err != nil {
		t.Fatal(err)
	}
	place := map[string]int{}
	for i, p := range b.topics.byName("t").parts() {
		place[b.topics.dir("t", p.index)] = i
		if _, err := p.append(oneRecord(-1, -1, -1, false, "v")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.checkpoint(1); err != nil {
		t.Fatal(err)
	}
	neighbours, last := 0, -partitions
	for _, dir := range fs.begun {
		at, ok := place[dir]
		if !ok {
			t.Fatal(dir)
		}
		if at-last == 1 || last-at == 1 {
			neighbours++
		}
		last = at
	}
	if len(fs.begun) != partitions || fs.atOnce != 1 || neighbours > partitions/8 {
		t.Errorf("%d checkpoints, %d at once, %d after that of a neighbour", len(fs.begun), fs.atOnce, neighbours)
	}
}

// TestDeletedBytesNeedNoCheckpoint: what was written to topics that are gone, and to
// segments that are sealed, calls for no checkpoint of the others.
func TestDeletedBytesNeedNoCheckpoint(t *testing.T) {
	w := newWorkbench(t)
	w.Kill()
	w.cfg.Limits.RecoveryBytes = 10_000
	w.open()
	w.topic("t", 1)
	write := func(topic string, n int) {
		for range n {
			req := writeOne()
			req.Topics[0].Topic = topic
			req.Topics[0].Partitions[0].Records = oneRecord(-1, -1, -1, false, string(make([]byte, 1000)))
			w.want(ask[*kmsg.ProduceResponse](w, req).Topics[0].Partitions[0].ErrorCode, nil)
		}
	}
	have := w.checkpointOf("t", 0)
	for i := range 3 {
		name := fmt.Sprint("gone", i)
		w.topic(name, 1)
		write(name, 5)
		w.deleteTopic(name)
		if write("t", 1); !bytes.Equal(w.checkpointOf("t", 0), have) {
			t.Errorf("there is a checkpoint of %d kB", i+1)
		}
	}
	if write("t", 6); !bytes.Equal(w.checkpointOf("t", 0), have) {
		t.Error("there is a checkpoint of 9 kB")
	}
	if write("t", 1); bytes.Equal(w.checkpointOf("t", 0), have) {
		t.Error("there is no checkpoint of more than 10 kB")
	}
}
