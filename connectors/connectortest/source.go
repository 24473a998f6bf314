package connectortest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/levada/levada/connectors/proto"
)

// Source describes a source to the suite.
type Source struct {
	// Client connects to the plugin; every call may be a new process.
	Client func(t testing.TB) proto.ConnectorClient
	// Origin makes an empty place to read from.
	Origin func(t testing.TB) Origin
	// BadConfig is a configuration with at least one fault.
	BadConfig string
}

// Origin is a place to read from.
type Origin struct {
	Config string // as JSON
	// Add makes the i-th input, durable and visible, and returns the value of
	// the record that it becomes.
	Add func(i int) string
}

// TestSource runs the suite.
func TestSource(t *testing.T, s Source) {
	t.Run("reads everything in order", s.readsInOrder)
	t.Run("resumes from every position", s.resumes)
	t.Run("keeps to its credit", s.keepsCredit)
	t.Run("stops", s.stops)
	t.Run("refuses a bad configuration", s.refusesConfig)
	t.Run("refuses a position that is none", s.refusesPosition)
}

type sourceStream struct {
	t      testing.TB
	stream proto.Connector_RunSourceClient
	cancel context.CancelFunc
}

func (s Source) open(t testing.TB, open *proto.OpenSource) *sourceStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	stream, err := s.Client(t).RunSource(ctx)
	if err != nil {
		t.Fatal(err)
	}
	open.Connector, open.Epoch, open.MaxBatchBytes = "conformance", 1, 8<<20
	r := &sourceStream{t, stream, cancel}
	r.send(&proto.SourceCommand{Command: &proto.SourceCommand_Open{Open: open}})
	return r
}

func (r *sourceStream) send(c *proto.SourceCommand) {
	r.t.Helper()
	if err := r.stream.Send(c); err != nil {
		r.t.Fatal(err)
	}
}

func (r *sourceStream) credit(n int64) {
	r.send(&proto.SourceCommand{Command: &proto.SourceCommand_Credit{Credit: &proto.Credit{Bytes: n}}})
}

// batch waits for the next batch with records.
func (r *sourceStream) batch() *proto.SourceBatch {
	r.t.Helper()
	for {
		e, err := r.stream.Recv()
		if err != nil {
			r.t.Fatalf("waiting for a batch: %v", err)
		}
		if m := e.GetError(); m != nil {
			r.t.Fatalf("waiting for a batch: error %q", m.Message)
		}
		if b := e.GetBatch(); b != nil && len(b.Records) > 0 {
			if b.Position == nil {
				r.t.Fatal("a batch without a position")
			}
			return b
		}
	}
}

// values reads n records.
func (r *sourceStream) values(n int) []string {
	r.t.Helper()
	var out []string
	for len(out) < n {
		for _, rec := range decode(r.t, r.batch().Records) {
			out = append(out, rec.value)
		}
	}
	return out
}

func sourceError(e *proto.SourceEvent) *proto.Error { return e.GetError() }

func (s Source) readsInOrder(t *testing.T) {
	origin := s.Origin(t)
	var want []string
	for i := range 100 {
		want = append(want, origin.Add(i))
	}
	r := s.open(t, &proto.OpenSource{ConfigJson: []byte(origin.Config), CreditBytes: 8 << 20})
	if got := r.values(len(want)); !slices.Equal(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
}

func (s Source) resumes(t *testing.T) {
	const inputs = 12
	origin := s.Origin(t)
	r := s.open(t, &proto.OpenSource{ConfigJson: []byte(origin.Config), CreditBytes: 8 << 20})
	var want []string
	var positions [][]byte
	for i := range inputs {
		want = append(want, origin.Add(i))
		b := r.batch()
		if got := decode(t, b.Records); len(got) != 1 || got[0].value != want[i] {
			t.Fatalf("input %d: got %q, want %q", i, got, want[i])
		}
		positions = append(positions, b.Position)
	}
	r.cancel() // the host is gone, not stopped
	want = append(want, origin.Add(inputs))
	for i, p := range positions {
		resumed := s.open(t, &proto.OpenSource{ConfigJson: []byte(origin.Config), CreditBytes: 8 << 20, HasPosition: true, Position: p})
		if got := resumed.values(len(want) - i - 1); !slices.Equal(got, want[i+1:]) {
			t.Fatalf("from position %d %q:\ngot  %q\nwant %q", i, p, got, want[i+1:])
		}
		resumed.cancel()
	}
}

// keepsCredit grants one byte at a time: each allows exactly one batch.
func (s Source) keepsCredit(t *testing.T) {
	origin := s.Origin(t)
	var want, got []string
	r := s.open(t, &proto.OpenSource{ConfigJson: []byte(origin.Config), CreditBytes: 1})
	for i := range 3 {
		want = append(want, origin.Add(i))
		b := r.batch()
		for _, rec := range decode(t, b.Records) {
			got = append(got, rec.value)
		}
		want = append(want, origin.Add(100+i))
		r.expectAlive()
		r.credit(int64(len(b.Records))) // pays the batch back: 1 is left again
		b = r.batch()
		for _, rec := range decode(t, b.Records) {
			got = append(got, rec.value)
		}
		r.credit(int64(len(b.Records)))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
}

// expectAlive asserts that the next event is a sign of life: there is input,
// but no credit.
func (r *sourceStream) expectAlive() {
	r.t.Helper()
	e, err := r.stream.Recv()
	if err != nil || e.GetAlive() == nil {
		r.t.Fatalf("without credit the source sent %v, %v; want alive", e, err)
	}
}

func (s Source) stops(t *testing.T) {
	origin := s.Origin(t)
	origin.Add(0)
	r := s.open(t, &proto.OpenSource{ConfigJson: []byte(origin.Config), CreditBytes: 8 << 20})
	r.batch()
	r.send(&proto.SourceCommand{Command: &proto.SourceCommand_Stop{Stop: &proto.Stop{}}})
	ended(t, r.stream.Recv, sourceError)
}

func (s Source) refusesConfig(t *testing.T) {
	answer, err := s.Client(t).Validate(t.Context(), &proto.ValidateRequest{Kind: proto.Kind_KIND_SOURCE, ConfigJson: []byte(s.BadConfig)})
	if err != nil {
		t.Fatal(err)
	}
	r := s.open(t, &proto.OpenSource{ConfigJson: []byte(s.BadConfig), CreditBytes: 1})
	checkFaults(t, answer.Faults, refused(t, r.stream.Recv, sourceError))
}

// checkFaults asserts that Validate and Open refuse a configuration alike.
func checkFaults(t *testing.T, faults []*proto.Fault, m *proto.Error) {
	t.Helper()
	if len(faults) == 0 {
		t.Fatal("Validate found no fault")
	}
	for _, f := range faults {
		if f.Message == "" || f.Mend == "" {
			t.Errorf("the fault %v does not say what is wrong and what to write", f)
		}
	}
	if m.Code != proto.Error_CODE_CONFIG || m.Retryable || fmt.Sprint(m.Faults) != fmt.Sprint(faults) {
		t.Errorf("open answered %v, want code CONFIG, not retryable, with the faults %v", m, faults)
	}
}

func (s Source) refusesPosition(t *testing.T) {
	origin := s.Origin(t)
	origin.Add(0)
	r := s.open(t, &proto.OpenSource{ConfigJson: []byte(origin.Config), CreditBytes: 8 << 20, HasPosition: true, Position: []byte("no position")})
	if m := refused(t, r.stream.Recv, sourceError); m.Retryable || m.Mend == "" {
		t.Errorf("got %v, want an error that is not retryable and says how to mend it", m)
	}
}
