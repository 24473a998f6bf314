package connectortest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
)

// Sink describes a sink to the suite.
type Sink struct {
	// Client connects to the plugin; every call may be a new process.
	Client func(t testing.TB) proto.ConnectorClient
	// Target makes an empty place to write to.
	Target func(t testing.TB) Target
	// BadConfig is a configuration with at least one fault.
	BadConfig string
}

// Target is a place to write to.
type Target struct {
	Config string // as JSON
	// Record makes the i-th record; its Row is what it becomes.
	Record func(i int) (key, value []byte)
	Row    func(i int) string
	// Poison is the value of a record that the target refuses; nil: none is.
	Poison []byte
	// Rows reads everything in the target, in any order.
	Rows func(t testing.TB) []string
}

// TestSink runs the suite.
func TestSink(t *testing.T, s Sink) {
	t.Run("keeps rows and positions", s.keeps)
	t.Run("writes a replayed record once", s.replay)
	t.Run("moves a position without records", s.emptyWrite)
	t.Run("fences an older epoch", s.fences)
	t.Run("survives being cut off", s.cutOff)
	t.Run("stores nothing while records are rejected", s.rejects)
	t.Run("refuses a bad configuration", s.refusesConfig)
}

var partitions = []*proto.TopicPartition{{Topic: "rows", Partition: 0}, {Topic: "rows", Partition: 1}}

type sinkStream struct {
	t      testing.TB
	stream proto.Connector_RunSinkClient
	cancel context.CancelFunc
	credit int64
	next   map[int32]int64 // what the target holds
}

func (s Sink) dial(t testing.TB, config string, epoch int64) *sinkStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	stream, err := s.Client(t).RunSink(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w := &sinkStream{t: t, stream: stream, cancel: cancel, next: map[int32]int64{}}
	w.send(&proto.SinkCommand{Command: &proto.SinkCommand_Open{Open: &proto.OpenSink{
		Connector: "conformance", ConfigJson: []byte(config), Epoch: epoch, Partitions: partitions,
	}}})
	return w
}

func (s Sink) open(t testing.TB, target Target, epoch int64) *sinkStream {
	t.Helper()
	w := s.dial(t, target.Config, epoch)
	e, err := w.stream.Recv()
	if err != nil || e.GetOpened() == nil {
		t.Fatalf("got %v, %v; want opened", e, err)
	}
	w.credit = e.GetOpened().CreditBytes
	if w.credit <= 0 {
		t.Fatal("the sink gave no credit")
	}
	w.learn(e.GetOpened().Positions)
	return w
}

func (w *sinkStream) learn(positions []*proto.Position) {
	for _, p := range positions {
		w.next[p.Partition] = p.NextOffset
	}
}

func (w *sinkStream) send(c *proto.SinkCommand) {
	w.t.Helper()
	if err := w.stream.Send(c); err != nil {
		w.t.Fatal(err)
	}
}

// write sends the records from offset from up to offset to; record i of
// partition p is number i*len(partitions)+p of the target.
func (w *sinkStream) write(target Target, partition int32, from, to int64) {
	w.t.Helper()
	var b recordbatch.Builder
	for o := from; o < to; o++ {
		key, value := target.Record(number(partition, o))
		b.Append(o, key, value, nil)
	}
	w.writeBatch(partition, b.Batch(), from, to)
}

func (w *sinkStream) writeBatch(partition int32, batch recordbatch.Batch, from, to int64) {
	w.t.Helper()
	if batch != nil {
		batch.SetBaseOffset(from)
		batch.SetCRC()
	}
	w.send(&proto.SinkCommand{Command: &proto.SinkCommand_Write{Write: &proto.WriteRecords{
		Topic: "rows", Partition: partition, Records: batch, NextOffset: to,
	}}})
}

func number(partition int32, offset int64) int { return int(offset)*len(partitions) + int(partition) }

// event waits for the next event that is no sign of life.
func (w *sinkStream) event() *proto.SinkEvent {
	w.t.Helper()
	for {
		e, err := w.stream.Recv()
		if err != nil {
			w.t.Fatalf("waiting for an event: %v", err)
		}
		if e.GetAlive() == nil {
			return e
		}
	}
}

// await waits until the target holds everything before next.
func (w *sinkStream) await(partition int32, next int64) {
	w.t.Helper()
	for w.next[partition] < next {
		e := w.event()
		if e.GetDurable() == nil {
			w.t.Fatalf("got %v, want durable", e)
		}
		w.learn(e.GetDurable().Positions)
	}
}

func (w *sinkStream) stop() {
	w.t.Helper()
	w.send(&proto.SinkCommand{Command: &proto.SinkCommand_Stop{Stop: &proto.Stop{}}})
	ended(w.t, w.stream.Recv, sinkError)
}

func sinkError(e *proto.SinkEvent) *proto.Error { return e.GetError() }

// check compares the target with the first records of each partition, without
// those left out.
func (s Sink) check(t testing.TB, target Target, ends map[int32]int64, without ...int) {
	t.Helper()
	var want []string
	for p, end := range ends {
		for o := range end {
			if n := number(p, o); !slices.Contains(without, n) {
				want = append(want, target.Row(n))
			}
		}
	}
	got := target.Rows(t)
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("the target holds %d rows, want %d\ngot  %q\nwant %q", len(got), len(want), got, want)
	}
}

func (s Sink) keeps(t *testing.T) {
	target := s.Target(t)
	w := s.open(t, target, 1)
	if len(w.next) != 0 {
		t.Fatalf("a new target has the positions %v", w.next)
	}
	w.write(target, 0, 0, 10)
	w.write(target, 1, 0, 5)
	w.write(target, 0, 10, 20)
	w.await(0, 20)
	w.await(1, 5)
	s.check(t, target, map[int32]int64{0: 20, 1: 5})
	w.stop()
	if again := s.open(t, target, 2); fmt.Sprint(again.next) != "map[0:20 1:5]" {
		t.Fatalf("after a restart the positions are %v", again.next)
	}
}

func (s Sink) replay(t *testing.T) {
	target := s.Target(t)
	w := s.open(t, target, 1)
	w.write(target, 0, 0, 10)
	w.await(0, 10)
	w.stop()
	w = s.open(t, target, 2)
	w.write(target, 0, 0, 4)
	w.write(target, 0, 4, 15)
	w.await(0, 15)
	w.stop()
	s.check(t, target, map[int32]int64{0: 15})
}

func (s Sink) emptyWrite(t *testing.T) {
	target := s.Target(t)
	w := s.open(t, target, 1)
	w.writeBatch(1, nil, 0, 7)
	w.await(1, 7)
	w.stop()
	if again := s.open(t, target, 2); again.next[1] != 7 {
		t.Fatalf("after a restart the positions are %v, want 7 of partition 1", again.next)
	}
	s.check(t, target, nil)
}

func (s Sink) fences(t *testing.T) {
	target := s.Target(t)
	old := s.open(t, target, 1)
	old.write(target, 0, 0, 5)
	old.await(0, 5)
	young := s.open(t, target, 2)
	old.write(target, 0, 5, 10)
	if e := old.event(); e.GetError().GetCode() != proto.Error_CODE_FENCED || e.GetError().GetRetryable() {
		t.Fatalf("the zombie's write was answered with %v, want FENCED", e)
	}
	again := s.dial(t, target.Config, 1)
	if m := refused(t, again.stream.Recv, sinkError); m.Code != proto.Error_CODE_FENCED {
		t.Fatalf("opening with an older epoch gave %v, want FENCED", m)
	}
	s.check(t, target, map[int32]int64{0: 5})
	young.write(target, 0, 5, 7)
	young.await(0, 7)
	s.check(t, target, map[int32]int64{0: 7})
}

// cutOff drops the connection at random moments and goes on from the positions
// of the target.
func (s Sink) cutOff(t *testing.T) {
	const total, rounds = 400, 15
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	target := s.Target(t)
	for epoch := range int64(rounds) {
		w := s.open(t, target, epoch+1)
		sent := map[int32]int64{}
		for p := range int32(len(partitions)) {
			end := min(total, w.next[p]+random.Int64N(60))
			sent[p] = end
			for o := w.next[p]; o < end; {
				to := min(end, o+1+random.Int64N(9))
				w.write(target, p, o, to)
				o = to
			}
		}
		for range random.IntN(4) {
			if w.next[0] >= sent[0] && w.next[1] >= sent[1] {
				break
			}
			w.learn(w.event().GetDurable().GetPositions())
		}
		w.cancel()
	}
	w := s.open(t, target, rounds+1)
	for p := range int32(len(partitions)) {
		w.write(target, p, w.next[p], total)
		w.await(p, total)
	}
	s.check(t, target, map[int32]int64{0: total, 1: total})
}

func (s Sink) rejects(t *testing.T) {
	target := s.Target(t)
	if target.Poison == nil {
		t.Log("the target refuses nothing")
		return
	}
	w := s.open(t, target, 1)
	var b recordbatch.Builder
	for o := range int64(6) {
		key, value := target.Record(number(0, o))
		if o == 2 || o == 4 {
			value = target.Poison
		}
		b.Append(o, key, value, nil)
	}
	w.writeBatch(0, b.Batch(), 0, 6)
	rejected := map[int64]bool{}
	for len(rejected) < 2 {
		e := w.event()
		if e.GetRejected() == nil {
			t.Fatalf("got %v, want rejected", e)
		}
		for _, r := range e.GetRejected().Rejections {
			if r.Reason == "" || r.Topic != "rows" || r.Partition != 0 || rejected[r.Offset] {
				t.Fatalf("bad rejection %v", r)
			}
			rejected[r.Offset] = true
		}
		s.check(t, target, nil)
		w.send(&proto.SinkCommand{Command: &proto.SinkCommand_RejectionsStored{RejectionsStored: &proto.RejectionsStored{}}})
	}
	w.await(0, 6)
	if !rejected[2] || !rejected[4] {
		t.Fatalf("rejected were %v, want 2 and 4", rejected)
	}
	s.check(t, target, map[int32]int64{0: 6}, number(0, 2), number(0, 4))
}

func (s Sink) refusesConfig(t *testing.T) {
	answer, err := s.Client(t).Validate(t.Context(), &proto.ValidateRequest{Kind: proto.Kind_KIND_SINK, ConfigJson: []byte(s.BadConfig)})
	if err != nil {
		t.Fatal(err)
	}
	w := s.dial(t, s.BadConfig, 1)
	checkFaults(t, answer.Faults, refused(t, w.stream.Recv, sinkError))
}
