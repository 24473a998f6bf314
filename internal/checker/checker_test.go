package checker

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
)

// parseHistory reads the form in which a report shows operations:
//
//	PROCESS TYPE FUNCTION [uncommitted] [>KEY:OFFSET=VALUE sent | <KEY:OFFSET=VALUE polled]...
func parseHistory(text string) ([]Op, error) {
	var ops []Op
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		words := strings.Fields(line)
		if len(words) < 3 {
			return nil, fmt.Errorf("%q: want PROCESS TYPE FUNCTION", line)
		}
		process, err := strconv.Atoi(words[0])
		if err != nil {
			return nil, err
		}
		o := Op{Process: process, Type: Type(words[1]), F: Function(words[2])}
		for _, w := range words[3:] {
			if w == "uncommitted" {
				o.Uncommitted = true
				continue
			}
			m := Micro{Poll: w[0] == '<', Offset: NoOffset}
			key, rest, _ := strings.Cut(w[1:], ":")
			offset, value, _ := strings.Cut(rest, "=")
			m.Key = key
			if offset != "?" {
				if m.Offset, err = strconv.ParseInt(offset, 10, 64); err != nil {
					return nil, fmt.Errorf("%q: %w", line, err)
				}
			}
			if m.Value, err = strconv.ParseInt(value, 10, 64); err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			o.Value = append(o.Value, m)
		}
		ops = append(ops, o)
	}
	return ops, nil
}

// TestHistories checks histories made by hand, bad ones of each class and good
// ones that look like them. Each goes through its JSON form on the way.
func TestHistories(t *testing.T) {
	classes := map[Class]bool{}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "check" {
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			ops, err := parseHistory(d.Input)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			var file bytes.Buffer
			if err := Write(&file, ops); err != nil {
				d.Fatalf(t, "%v", err)
			}
			ops, err = Read(&file)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			report := Check(ops)
			for class := range report.Counts {
				classes[class] = true
			}
			return report.String() + "\n"
		})
	})
	for _, class := range []Class{
		InconsistentOffsets, Duplicate, AbortedRead, PrecommittedRead, LostWrite, TornTransaction, Unseen, PhantomRead, PollSkip,
		NonmonotonicPoll, IntPollSkip, IntNonmonotonicPoll, NonmonotonicSend, IntNonmonotonicSend, IntSendSkip, CircularFlow, WriteCycle, InvalidHistory,
	} {
		if !classes[class] {
			t.Errorf("no history shows %s", class)
		}
	}
}

func TestJSON(t *testing.T) {
	ops := []Op{
		{Process: 3, Type: Info, F: Txn, Start: 5, End: 9, Error: `no "answer"`, Value: []Micro{
			{Poll: true, Key: "in-0", Offset: 4, Value: 40},
			{Poll: true, Key: "in-0", Offset: 5, Value: 50},
			{Key: "out-1", Offset: 7, Value: 70},
			{Key: "out-1", Offset: NoOffset, Value: -1},
			{Poll: true, Key: "in-1", Offset: 0, Value: 1},
		}},
		{Process: 4, Type: OK, F: Assign, Uncommitted: true},
	}
	var text bytes.Buffer
	if err := Write(&text, ops); err != nil {
		t.Fatal(err)
	}
	want := `{"process":3,"type":"info","f":"txn","value":[["poll",{"in-0":[[4,40],[5,50]]}],["send","out-1",[7,70]],["send","out-1",-1],["poll",{"in-1":[[0,1]]}]],"start":5,"end":9,"error":"no \"answer\""}
{"process":4,"type":"ok","f":"assign","uncommitted":true,"start":0,"end":0}
`
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("written (-want +got):\n%s", diff)
	}
	got, err := Read(&text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ops, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	for _, bad := range []string{
		`{`, `{"type":"yes","f":"txn"}`, `{"type":"ok","f":"read"}`, `{"type":"ok","f":"send","value":[["send","a"]]}`,
		`{"type":"ok","f":"send","value":[["send","a","b"]]}`, `{"type":"ok","f":"poll","value":[["poll",[1]]]}`, `{"type":"ok","f":"send","value":[["send",1,2]]}`,
	} {
		if _, err := Read(strings.NewReader(bad)); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func TestPipeline(t *testing.T) {
	in := map[string][]int64{"in-0": {0, 1, 3}, "in-1": {0}}
	out := func(places ...any) []Output {
		var outputs []Output
		for i := 0; i < len(places); i += 2 {
			outputs = append(outputs, Output{"out-0", int64(i), places[i].(string), int64(places[i+1].(int))})
		}
		return outputs
	}
	for _, c := range []struct {
		name      string
		outputs   []Output
		committed map[string]int64
		want      []Class
	}{
		{"all", out("in-0", 1, "in-0", 0, "in-0", 3, "in-1", 0), map[string]int64{"in-0": 5, "in-1": 1}, nil},
		{"not yet", out("in-0", 0), map[string]int64{"in-0": 1}, nil},
		{"twice", out("in-0", 0, "in-0", 0), map[string]int64{"in-0": 1}, []Class{ProcessedTwice}},
		{"lost", out("in-0", 0, "in-0", 3), map[string]int64{"in-0": 4}, []Class{Unprocessed}},
		{"behind", out("in-0", 0, "in-0", 1), map[string]int64{"in-0": 1}, []Class{OffsetBehind}},
		{"of nothing", out("in-0", 0, "in-0", 2), map[string]int64{"in-0": 1}, []Class{MadeOfNothing}},
	} {
		var got []Class
		for _, a := range Pipeline(in, c.outputs, c.committed) {
			got = append(got, a.Class)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestManyRecords holds the checker to its size: a history of a long round.
func TestManyRecords(t *testing.T) {
	m := newModel(1, 20)
	for m.micros < 1_000_000 {
		m.step()
	}
	ops := m.drain()
	began := time.Now()
	report := Check(ops)
	if !report.OK() {
		t.Error(report)
	}
	took := time.Since(began)
	t.Logf("%d records polled and sent were checked in %v", report.Polled+report.Sent, took)
	if took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}
