package dsl_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/topology"
	"github.com/levada/levada/statestore"
)

// capture is an Output that keeps what it is sent, as text.
type capture struct {
	sent []string
	fail error
}

func (c *capture) Send(sink int, ts int64, key, value []byte, h recordbatch.Headers) error {
	if c.fail != nil {
		return c.fail
	}
	text := fmt.Sprintf("%d: %s=%s@%d", sink, key, value, ts)
	if value == nil {
		text = fmt.Sprintf("%d: %s=null@%d", sink, key, ts)
	}
	if len(h) > 0 {
		text += " with headers"
	}
	c.sent = append(c.sent, text)
	return nil
}

func (c *capture) take() string {
	s := strings.Join(c.sent, "\n")
	c.sent = nil
	return s
}

// build makes the first task of a topology that writes to a capture.
func build(t *testing.T, b *dsl.Builder) (*topology.Task, *capture) {
	t.Helper()
	task, _ := benchTask(t, b, 0)
	c := &capture{}
	task.Context.Out = c
	return task, c
}

func record(key, value string) topology.Record {
	return topology.Record{Key: []byte(key), Value: []byte(value), Timestamp: 7}
}

// loose reads any number of digits and writes them without leading zeros: what
// is read and written again differs, unless the bytes were forwarded.
type loose struct{}

func (loose) Append(dst []byte, v int) ([]byte, error) {
	if v < 0 {
		return nil, errors.New("negative")
	}
	return fmt.Appendf(dst, "%d", v), nil
}

func (loose) Decode(b []byte) (v int, err error) {
	_, err = fmt.Sscanf(string(b), "%d", &v)
	return v, err
}

// TestForwarding: bytes that no operator touched go out as they came in, where
// the serde is the same, and only there.
func TestForwarding(t *testing.T) {
	in := dsl.NewTopic("in", loose{}, loose{})
	to := dsl.NewTopic("to", loose{}, loose{})
	sum := dsl.NewTopic("sum", loose{}, serde.Int64{})
	other := dsl.NewTopic("other", serde.JSON[int]{}, serde.JSON[int]{})
	for _, c := range []struct {
		name string
		make func(b *dsl.Builder)
		want string
	}{
		{"pass", func(b *dsl.Builder) { in.Stream(b).To(to) }, "0: 007=0042@7"},
		{"filter", func(b *dsl.Builder) { in.Stream(b).Filter(func(k, v int) bool { return k == 7 && v == 42 }).To(to) }, "0: 007=0042@7"},
		{"mapValues", func(b *dsl.Builder) {
			dsl.MapValues(in.Stream(b), func(v int) int { return v }).WithSerdes(loose{}, loose{}).To(to)
		}, "0: 007=42@7"},
		{"selectKey", func(b *dsl.Builder) { dsl.SelectKey(in.Stream(b), func(k, _ int) int { return k }).To(to) }, "0: 7=0042@7"},
		{"other serde", func(b *dsl.Builder) { in.Stream(b).To(other) }, "0: 7=42@7"},
		{"merge", func(b *dsl.Builder) {
			in.Stream(b).Merge(dsl.MapValues(in.Stream(b), func(v int) int { return v })).To(to)
		}, "0: 007=42@7\n0: 007=0042@7"},
		{"table", func(b *dsl.Builder) { in.Table(b, "t").Stream().To(to) }, "0: 007=0042@7"},
		{"join", func(b *dsl.Builder) {
			s := in.Stream(b)
			table := s.ToTable("t")
			dsl.Join(s, table, "j", func(v, w int) int { return v + w }).WithSerdes(loose{}, loose{}).To(to)
		}, "0: 007=84@7"},
		{"reduce", func(b *dsl.Builder) {
			in.Stream(b).GroupByKey().Reduce("r", func(a, v int) int { return a + v }).Stream().To(to)
		}, "0: 007=42@7"},
		{"count", func(b *dsl.Builder) { in.Stream(b).GroupByKey().Count("n").Stream().To(sum) }, "0: 007=\x00\x00\x00\x00\x00\x00\x00\x01@7"},
		{"two serdes meet", func(b *dsl.Builder) {
			twice := dsl.NewTopic("in2", serde.JSON[int]{}, loose{}).Stream(b)
			in.Stream(b).Merge(twice).To(to)
		}, "0: 007=0042@7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := dsl.NewBuilder()
			c.make(b)
			task, out := build(t, b)
			if _, err := task.Sources["in"]([]topology.Record{record("007", "0042")}); err != nil {
				t.Fatal(err)
			}
			if got := out.take(); got != c.want {
				t.Errorf("sent:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
}

// TestMergeOfSerdes: what comes in by another serde is written anew.
func TestMergeOfSerdes(t *testing.T) {
	b := dsl.NewBuilder()
	to := dsl.NewTopic("to", loose{}, loose{})
	dsl.NewTopic("in", loose{}, loose{}).Stream(b).Merge(dsl.NewTopic("in2", hexNumber{}, loose{}).Stream(b)).To(to)
	task, out := build(t, b)
	if _, err := task.Sources["in2"]([]topology.Record{record("0ff", "0042")}); err != nil {
		t.Fatal(err)
	}
	if got, want := out.take(), "0: 255=0042@7"; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

type hexNumber struct{}

func (hexNumber) Append(dst []byte, v int) ([]byte, error) { return fmt.Appendf(dst, "%x", v), nil }

func (hexNumber) Decode(b []byte) (v int, err error) {
	_, err = fmt.Sscanf(string(b), "%x", &v)
	return v, err
}

// TestRecordErrors: what fails, where, and whether it has had effects.
func TestRecordErrors(t *testing.T) {
	in := dsl.NewTopic("in", loose{}, loose{})
	to := dsl.NewTopic("to", loose{}, loose{})
	bomb := func(v int) int {
		if v == 13 {
			panic("unlucky")
		}
		return v
	}
	negate := func(v int) int {
		if v == 13 {
			return -v
		}
		return v
	}
	for _, c := range []struct {
		name string
		make func(b *dsl.Builder)
		bad  topology.Record
		want string // stage, node, clean, message
	}{
		{"decode key", func(b *dsl.Builder) { in.Stream(b).To(to) }, record("x", "1"), "decode in-source true key: expected integer"},
		{"decode value", func(b *dsl.Builder) { in.Stream(b).To(to) }, record("1", "x"), "decode in-source true value: expected integer"},
		{"serde panics", func(b *dsl.Builder) {
			dsl.NewTopic("in", loose{}, mine{}).Stream(b).To(dsl.NewTopic("to", loose{}, mine{}))
		}, record("1", "13"), "decode in-source true panic: mine at record_test.go"},
		{"panic", func(b *dsl.Builder) {
			dsl.MapValues(in.Stream(b), bomb).To(dsl.NewTopic("to", loose{}, serde.JSON[int]{}))
		}, record("1", "13"), "process mapValues-1 true panic: unlucky at record_test.go"},
		{"runtime panic", func(b *dsl.Builder) {
			dsl.MapValues(in.Stream(b), func(v int) int { return []int{0, 1, 2}[v] }).To(dsl.NewTopic("to", loose{}, serde.JSON[int]{}))
		}, record("1", "13"), "process mapValues-1 true panic: runtime error: index out of range [13] with length 3 at record_test.go"},
		{"nil pointer", func(b *dsl.Builder) {
			in.Stream(b).Filter(func(_, v int) bool {
				var p *person
				return v != 13 || p.Name == ""
			}).To(to)
		}, record("1", "13"), "process filter-1 true panic: runtime error: invalid memory address or nil pointer dereference at record_test.go"},
		{"panic after an output", func(b *dsl.Builder) {
			s := in.Stream(b)
			s.To(to)
			dsl.MapValues(s, bomb).Named("boom").To(dsl.NewTopic("to2", loose{}, serde.JSON[int]{}))
		}, record("1", "13"), "process boom false panic: unlucky at record_test.go"},
		{"panic after a state", func(b *dsl.Builder) {
			s := in.Stream(b)
			s.ToTable("t")
			dsl.MapValues(s, bomb).Discard()
		}, record("1", "13"), "process mapValues-1 false panic: unlucky at record_test.go"},
		{"panic in aggregate", func(b *dsl.Builder) {
			dsl.Aggregate(in.Stream(b).GroupByKey(), "sum", func() int { return 0 }, func(_, v, a int) int { return bomb(v) + a })
		}, record("1", "13"), "process sum false panic: unlucky at record_test.go"},
		{"encode value", func(b *dsl.Builder) { dsl.MapValues(in.Stream(b), negate).To(to) }, record("1", "13"), "encode to-to true value: negative"},
		{"encode key", func(b *dsl.Builder) {
			dsl.SelectKey(in.Stream(b), func(k, _ int) int { return -k }).WithSerdes(loose{}, loose{}).Filter(func(_, v int) bool { return v == 13 }).To(to)
		}, record("1", "13"), "encode to-to true key: negative"},
		{"function fails", func(b *dsl.Builder) {
			dsl.ProcessValues(in.Stream(b), func(_ *dsl.Meta, _, v int, emit func(int)) error {
				if v == 13 {
					return errors.New("no")
				}
				emit(v)
				return nil
			}).To(dsl.NewTopic("to", loose{}, serde.JSON[int]{}))
		}, record("1", "13"), "process processValues-1 true no"},
		{"function fails after it emitted", func(b *dsl.Builder) {
			dsl.Process(in.Stream(b), func(_ *dsl.Meta, k, v int, emit func(int, int)) error {
				emit(k, v)
				if v == 13 {
					return errors.New("no")
				}
				return nil
			}).WithSerdes(loose{}, loose{}).To(to)
		}, record("1", "13"), "process process-1 false no"},
		{"what follows an emit fails", func(b *dsl.Builder) {
			dsl.Process(in.Stream(b), func(_ *dsl.Meta, k, v int, emit func(int, int)) error {
				emit(k, -v)
				emit(k, v)
				return nil
			}).WithSerdes(loose{}, loose{}).Filter(func(_, v int) bool { return v == -13 || v > 0 }).To(to)
		}, record("1", "13"), "encode to-to true value: negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := dsl.NewBuilder()
			c.make(b)
			task, _ := build(t, b)
			good := record("1", "1")
			batch := []topology.Record{good, good, c.bad, good}
			done, err := task.Sources["in"](batch)
			var re *topology.RecordError
			if !errors.As(err, &re) {
				t.Fatalf("got %d, %v; want a RecordError", done, err)
			}
			got := fmt.Sprintf("%s %s %t %s", re.Stage, re.Node, re.Clean, re.Err)
			if i := strings.Index(got, "record_test.go:"); i >= 0 {
				got = got[:i+len("record_test.go")]
			}
			if done != 2 || got != c.want {
				t.Errorf("%d done, error %q; want 2 and %q", done, got, c.want)
			}
			// The caller goes on with what follows.
			if done, err := task.Sources["in"](batch[3:]); done != 1 || err != nil {
				t.Errorf("after the error: %d done, %v", done, err)
			}
		})
	}
}

type mine struct{ loose }

func (mine) Decode(b []byte) (int, error) {
	if string(b) == "13" {
		panic("mine")
	}
	return loose{}.Decode(b)
}

// TestOutputErrors: an output that fails is not the record's fault.
func TestOutputErrors(t *testing.T) {
	b := dsl.NewBuilder()
	left.Stream(b).To(out)
	task, c := build(t, b)
	c.fail = errors.New("the log is gone")
	done, err := task.Sources["left"]([]topology.Record{record("k", "v")})
	var re *topology.RecordError
	if done != 0 || !errors.Is(err, c.fail) || errors.As(err, &re) {
		t.Errorf("got %d, %v; want 0 and the output's own error", done, err)
	}
}

// TestCommitErrors: a function that fails during a commit is named, and the
// commit is not clean.
func TestCommitErrors(t *testing.T) {
	b := dsl.NewBuilder()
	n := left.Stream(b).GroupByKey().Count("n", dsl.EmitOnCommit()).Stream()
	dsl.MapValues(n, func(int64) int64 { panic("late") }).To(counts)
	task, _ := build(t, b)
	if _, err := task.Sources["left"]([]topology.Record{record("k", "v")}); err != nil {
		t.Fatal(err)
	}
	var re *topology.RecordError
	if err := task.Commit(); !errors.As(err, &re) || re.Node != "mapValues-1" || re.Clean {
		t.Errorf("Commit returned %v; want an error of mapValues-1 that is not clean", err)
	}
}

// TestHeadersFollow: results carry the headers of the record they come from.
func TestHeadersFollow(t *testing.T) {
	b := dsl.NewBuilder()
	left.Stream(b).GroupByKey().Reduce("r", same).Stream().To(out)
	task, c := build(t, b)
	with := record("k", "v")
	with.Headers = recordbatch.EncodeHeaders(nil, []recordbatch.Header{{Key: "a"}})
	if _, err := task.Sources["left"]([]topology.Record{with, record("k", "w")}); err != nil {
		t.Fatal(err)
	}
	if got, want := c.take(), "0: k=v@7 with headers\n0: k=w@7"; got != want {
		t.Errorf("sent:\n%s\nwant:\n%s", got, want)
	}
}

// TestStreamTime: it is the largest timestamp of what could be read.
func TestStreamTime(t *testing.T) {
	in := dsl.NewTopic("in", loose{}, loose{})
	b := dsl.NewBuilder()
	in.Stream(b).Filter(func(_, v int) bool { return false }).Discard()
	task, _ := build(t, b)
	for _, step := range []struct {
		value string
		ts    int64
		want  int64
	}{{"1", 5, 5}, {"1", 3, 5}, {"x", 9, 5}, {"1", -1, 5}, {"1", 8, 8}} {
		r := record("1", step.value)
		r.Timestamp = step.ts
		if _, err := task.Sources["in"]([]topology.Record{r}); err != nil && step.value != "x" {
			t.Fatal(err)
		}
		if task.Context.StreamTime != step.want {
			t.Errorf("after %s@%d stream time is %d, want %d", step.value, step.ts, task.Context.StreamTime, step.want)
		}
	}
}

// TestValuesOutliveTheBatch: the bytes of a batch are reused, what user code
// and stores hold of them is not touched.
func TestValuesOutliveTheBatch(t *testing.T) {
	for _, stored := range []bool{false, true} {
		b := dsl.NewBuilder()
		var kept []string
		s := left.Stream(b).Peek(func(k, v string) { kept = append(kept, k, v) })
		if stored {
			s.ToTable("table")
		}
		task, _ := build(t, b)
		long := strings.Repeat("long ", 400)
		for _, v := range []string{"first", "second", long, ""} {
			r := record("k-"+v[:min(len(v), 6)], v)
			if _, err := task.Sources["left"]([]topology.Record{r}); err != nil {
				t.Fatal(err)
			}
			for _, bytes := range [][]byte{r.Key, r.Value} {
				for i := range bytes {
					bytes[i] = '!'
				}
			}
		}
		want := []string{"k-first", "first", "k-second", "second", "k-long l", long, "k-", ""}
		if fmt.Sprint(kept) != fmt.Sprint(want) {
			t.Errorf("user code holds %q, want %q", kept, want)
		}
		for _, store := range task.Stores {
			var values []string
			if err := store.Prepare(func(ch statestore.Change) error {
				values = append(values, string(ch.Value))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(values) != fmt.Sprint([]string{"first", "second", long, ""}) {
				t.Errorf("the store holds %q", values)
			}
		}
	}
}

// TestKeptValuesHaveTheirOwnMemory: text shares memory while it passes by, but
// not if a store keeps it: each would keep the memory of many.
func TestKeptValuesHaveTheirOwnMemory(t *testing.T) {
	for _, stored := range []bool{false, true} {
		b := dsl.NewBuilder()
		var at []uintptr
		s := left.Stream(b).Peek(func(_, v string) { at = append(at, uintptr(unsafe.Pointer(unsafe.StringData(v)))) })
		if stored {
			dsl.MapValues(s, func(v string) string { return v[:1] }).GroupByKey().Reduce("r", same)
		}
		task, _ := build(t, b)
		text := strings.Repeat("x", 100)
		if _, err := task.Sources["left"]([]topology.Record{record("k", text), record("k", text)}); err != nil {
			t.Fatal(err)
		}
		if shares := at[1]-at[0] == 100; shares == stored {
			t.Errorf("stored %t: the values share memory: %t", stored, shares)
		}
	}
}

// TestMutableValuesAreNotShared: a value that user code may change in one
// store is never the one that another store holds.
func TestMutableValuesAreNotShared(t *testing.T) {
	// twice makes Reduce keep the value itself, and then change what it keeps.
	twice := func(p *person) []*person { return []*person{p, {Tags: []string{"y"}}} }
	for name, make := range map[string]func(b *dsl.Builder){
		"fork": func(b *dsl.Builder) {
			s := people.Stream(b)
			s.ToTable("kept")
			dsl.FlatMapValues(s, twice).GroupByKey().Reduce("changed", addTags)
		},
		"table of a topic": func(b *dsl.Builder) {
			dsl.FlatMapValues(people.Table(b, "kept").Stream(), twice).GroupByKey().Reduce("changed", addTags)
		},
		"join": func(b *dsl.Builder) {
			kept := people.Table(b, "kept")
			joined := dsl.Join(left.Stream(b), kept, "j", func(_ string, p *person) *person { return p })
			dsl.FlatMapValues(joined, twice).GroupByKey().Reduce("changed", addTags)
		},
		"aggregate": func(b *dsl.Builder) {
			kept := dsl.Aggregate(people.Stream(b).GroupByKey(), "kept",
				func() *person { return &person{} },
				func(_ string, p, sum *person) *person { return p })
			dsl.FlatMapValues(kept.Stream(), twice).GroupByKey().Reduce("changed", addTags)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := dsl.NewBuilder()
			make(b)
			task, _ := build(t, b)
			for _, topic := range []string{"people", "left"} {
				process := task.Sources[topic]
				if process == nil {
					continue
				}
				if _, err := process([]topology.Record{record("k", `{"name":"Ada","tags":["x"]}`)}); err != nil {
					t.Fatal(err)
				}
			}
			want := map[string]string{"kept": `{"name":"Ada","tags":["x"]}`, "changed": `{"name":"changed","tags":["x","y"]}`}
			for _, s := range task.Stores {
				if err := s.Prepare(func(c statestore.Change) error {
					if string(c.Value) != want[s.Name()] {
						t.Errorf("store %s holds %s, want %s", s.Name(), c.Value, want[s.Name()])
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// addTags changes its first argument, as it may.
func addTags(sum, p *person) *person {
	sum.Tags = append(sum.Tags, p.Tags...)
	sum.Name = "changed"
	return sum
}

// TestNoAllocations: the paths that every record takes allocate nothing.
func TestNoAllocations(t *testing.T) {
	for name, make := range map[string]func(b *dsl.Builder){
		"pass":  func(b *dsl.Builder) { benchIn.Stream(b).To(benchOut) },
		"count": func(b *dsl.Builder) { benchIn.Stream(b).GroupByKey().Count("n").Stream().To(benchSum) },
		"reduce": func(b *dsl.Builder) {
			benchSum.Stream(b).GroupByKey().Reduce("n", func(a, v int64) int64 { return a + v }).Stream().To(benchSum)
		},
		"filter, map, branch, merge": func(b *dsl.Builder) {
			s := benchIn.Stream(b).Filter(func(k []byte, v string) bool { return len(v) == 8 && len(k) == 8 })
			parts := s.Branch(func(_ []byte, v string) bool { return v == "" })
			n := dsl.MapValues(parts[1].Merge(parts[0]), func(v string) int64 { return int64(len(v)) })
			dsl.Map(n, func(k []byte, v int64) (int64, int64) { return v, v }).To(dsl.NewTopic("ints", serde.Int64{}, serde.Int64{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := dsl.NewBuilder()
			make(b)
			task, _ := benchTask(t, b, 0)
			batch := []topology.Record{record("01234567", "abcdefgh")}
			for topic, process := range task.Sources {
				run := func() {
					if done, err := process(batch); done != 1 || err != nil {
						t.Fatalf("%s: %d, %v", topic, done, err)
					}
				}
				// Chunks of memory for text are shared by many records.
				if n := testing.AllocsPerRun(10_000, run); n > 0 {
					t.Errorf("%s: %v allocations a record", topic, n)
				}
			}
		})
	}
}
