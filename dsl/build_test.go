package dsl_test

import (
	"errors"
	"fmt"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
)

// line is the number of the line it is called in.
func line() int {
	_, _, n, _ := goruntime.Caller(1)
	return n
}

func same(_, v string) string { return v }

// TestMistakes makes one mistake a case, and looks for it at its line.
func TestMistakes(t *testing.T) {
	other := dsl.NewBuilder()
	bytesLeft := dsl.NewTopic("left", serde.Bytes{}, serde.String{})
	byteKeys := dsl.NewTopic("right", hexString{}, serde.String{})
	for _, c := range []struct {
		name string
		make func(b *dsl.Builder) int
		want string // of each line, after the place
	}{
		{"empty topology", func(b *dsl.Builder) int { return 0 }, "the topology is empty: begin with Topic.Stream or Topic.Table"},
		{"no name", func(b *dsl.Builder) int {
			left.Stream(b).GroupByKey().Count("")
			return line() - 1
		}, "count has no name: it names the store and its topics"},
		{"bad name", func(b *dsl.Builder) int {
			left.Stream(b).GroupByKey().Count("my counts")
			return line() - 1
		}, `step "my counts": the name holds ' '; letters, digits, '.', '_' and '-' are possible`},
		{"long name", func(b *dsl.Builder) int {
			left.Stream(b).ToTable(strings.Repeat("x", 151))
			return line() - 1
		}, `step "` + strings.Repeat("x", 151) + `": the name has 151 bytes, at most 150 are possible`},
		{"name twice", func(b *dsl.Builder) int {
			s := left.Stream(b)
			s.ToTable("a")
			dsl.Join(s, s.ToTable("t"), "a", func(a, _ string) string { return a }).To(out)
			return line() - 1
		}, `step "a": the name is already used at build_test.go:0; choose another`},
		{"name of another step", func(b *dsl.Builder) int {
			s := left.Stream(b).Filter(func(_, _ string) bool { return true }).Named("big")
			s.ToTable("big")
			return line() - 1
		}, `step "big": the name is that of another step; choose another`},
		{"Named twice", func(b *dsl.Builder) int {
			s := left.Stream(b).Peek(func(_, _ string) {}).Named("a")
			s.Peek(func(_, _ string) {}).Named("a")
			return line() - 1
		}, `step "a": Named: another step has this name`},
		{"branch not used", func(b *dsl.Builder) int {
			parts := left.Stream(b).Branch(func(_, _ string) bool { return true })
			parts[0].To(out)
			return line() - 2
		}, `step "branch-1-rest": its result goes nowhere: write it with To, or call Discard`},
		{"result not used", func(b *dsl.Builder) int {
			s := left.Stream(b)
			s.Filter(func(_, _ string) bool { return true })
			s.To(out)
			return line() - 2
		}, `step "filter-1": its result goes nowhere: write it with To, or call Discard`},
		{"topic read twice, other serde", func(b *dsl.Builder) int {
			left.Stream(b).To(out)
			bytesLeft.Table(b, "t")
			return line() - 1
		}, `topic "left" is read with bytes keys and string values here and with string keys and string values at build_test.go:0: a topic is read in one way`},
		{"topic read twice, other start", func(b *dsl.Builder) int {
			left.Stream(b).To(out)
			left.FromLatest().Stream(b).To(out)
			return line() - 1
		}, `topic "left" is read from its latest record here and from its earliest at build_test.go:0`},
		{"topic without a name", func(b *dsl.Builder) int {
			dsl.NewTopic("", serde.String{}, serde.String{}).Stream(b).To(out)
			return line() - 1
		}, `topic name "" is empty`},
		{"topic not declared", func(b *dsl.Builder) int {
			var none dsl.Topic[string, string]
			left.Stream(b).To(none)
			return line() - 1
		}, `topic name "" is empty` + "\n" + `topic "" has no serde for its keys or values: declare it with NewTopic`},
		{"stream of another builder", func(b *dsl.Builder) int {
			left.Stream(b).Merge(right.Stream(other)).To(out)
			return line() - 1
		}, `Merge: a stream is nil or of another Builder`},
		{"table of another builder", func(b *dsl.Builder) int {
			dsl.Join(left.Stream(b), right.Table(other, fmt.Sprint("t", line())), "j", same).To(out)
			return line() - 1
		}, `step "j": the table is of another Builder`},
		{"keys that do not meet", func(b *dsl.Builder) int {
			dsl.Join(left.Stream(b), byteKeys.Table(b, "t"), "j", same).To(out)
			return line() - 1
		}, `step "j": the stream's keys are written as string and the table's as hex, so they would not meet: call WithSerdes on the stream`},
		{"join with oneself on commit", func(b *dsl.Builder) int {
			n := left.Stream(b).GroupByKey().Count("n", dsl.EmitOnCommit())
			dsl.Join(n.Stream(), n, "j", func(a, _ int64) int64 { return a }).To(counts)
			return line() - 1
		}, `step "j": the stream is made of what table "n" emits on commit, and so cannot be joined with that table`},
		{"nil function", func(b *dsl.Builder) int {
			dsl.MapValues[string, string, string](left.Stream(b).Filter(nil), nil).To(out)
			return line() - 1
		}, "Filter: the function is nil\nMapValues: the function is nil"},
		{"nil serde", func(b *dsl.Builder) int {
			left.Stream(b).WithSerdes(nil, serde.String{}).To(out)
			return line() - 1
		}, "WithSerdes: a serde is nil"},
		{"serde of another type", func(b *dsl.Builder) int {
			left.Stream(b).GroupByKey().Count("c", dsl.StoredAs(serde.String{}))
			return line() - 1
		}, `step "c": StoredAs has serde string, but the step's results are of type int64`},
		{"table of a topic stored otherwise", func(b *dsl.Builder) int {
			left.Table(b, "t", dsl.StoredAs(hexString{}))
			return line() - 1
		}, `step "t": StoredAs is not for tables of topics: the topic may serve as changelog, so its serde is the store's`},
		{"partitions", func(b *dsl.Builder) int {
			left.Stream(b).GroupByKey().Count("c", dsl.Partitions(-1), nil)
			return line() - 1
		}, `step "c": an option is nil` + "\n" + `step "c": Partitions(-1): not a number of partitions`},
		{"nothing to merge", func(b *dsl.Builder) int {
			left.Stream(b).Merge().To(out)
			return line() - 1
		}, "Merge: no other stream is given"},
		{"no predicates", func(b *dsl.Builder) int {
			left.Stream(b).Branch()[0].To(out)
			return line() - 1
		}, "Branch: no predicate is given"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := dsl.NewBuilder()
			at := c.make(b)
			_, err := b.Build()
			var be *dsl.BuildError
			if !errors.As(err, &be) {
				t.Fatalf("Build returned %v, want a BuildError", err)
			}
			var got []string
			for _, m := range be.Mistakes {
				if filepath.Base(m.File) != "build_test.go" || at != 0 && m.Line != at {
					t.Errorf("mistake %q is reported at %s:%d, it was made at build_test.go:%d", m.Text, m.File, m.Line, at)
				}
				_, text, _ := strings.Cut(m.String(), ": ")
				got = append(got, blankLines(text))
			}
			if g := strings.Join(got, "\n"); g != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", g, c.want)
			}
		})
	}
}

// blankLines takes the line numbers out of places in a message.
func blankLines(text string) string {
	before, after, found := strings.Cut(text, "build_test.go:")
	if !found {
		return text
	}
	return before + "build_test.go:0" + strings.TrimLeft(after, "0123456789")
}

func TestMistakesAllAtOnce(t *testing.T) {
	b := dsl.NewBuilder()
	s := left.Stream(b).Filter(nil)
	s.GroupByKey().Count("")
	s.GroupByKey().Count("a b")
	first := line() - 3
	_, err := b.Build()
	want := fmt.Sprintf(`build_test.go:%d: Filter: the function is nil
build_test.go:%d: count has no name: it names the store and its topics
build_test.go:%d: step "a b": the name holds ' '; letters, digits, '.', '_' and '-' are possible`, first, first+1, first+2)
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}

// hexString is a serde of the user for strings.
type hexString struct{}

func (hexString) Append(dst []byte, v string) ([]byte, error) { return fmt.Appendf(dst, "%x", v), nil }

func (hexString) Decode(b []byte) (string, error) {
	var v []byte
	if _, err := fmt.Sscanf(string(b), "%x", &v); err != nil {
		return "", err
	}
	return string(v), nil
}

func (hexString) String() string { return "hex" }

// plans are topologies whose Describe is compared with testdata/describe.
var plans = map[string]func(b *dsl.Builder){
	// Nothing moves: the keys are those of the topic.
	"group-by-key": func(b *dsl.Builder) {
		s := dsl.MapValues(left.Stream(b).Filter(func(_, _ string) bool { return true }), strings.ToUpper)
		s.GroupByKey().Count("n").Stream().To(counts)
	},
	// A new key without a step by key after it moves nothing either.
	"select-key-to": func(b *dsl.Builder) { dsl.SelectKey(left.Stream(b), same).To(out) },
	// Each step that needs the new key has a topic of its own.
	"select-key-twice": func(b *dsl.Builder) {
		s := dsl.SelectKey(left.Stream(b), same)
		s.GroupByKey().Count("a", dsl.Partitions(3)).Stream().To(counts)
		s.GroupByKey().Reduce("b", same).Stream().To(out)
	},
	// After the repartition the keys are in place.
	"chain": func(b *dsl.Builder) {
		perWord := dsl.GroupBy(left.Stream(b), same).Count("words", dsl.EmitOnCommit()).Stream()
		perWord.GroupByKey().Reduce("sum", func(a, b int64) int64 { return a + b }).Stream().To(counts)
		dsl.GroupBy(perWord, func(w string, _ int64) string { return w[:1] }).Count("letters").Stream().To(counts)
	},
	// Topics that meet by key are partitioned alike, merged ones too.
	"merge-join": func(b *dsl.Builder) {
		more := dsl.NewTopic("more", serde.String{}, serde.String{})
		s := left.Stream(b).Merge(more.FromLatest().Stream(b))
		dsl.LeftJoin(s, right.Table(b, "t"), "j", leftText).To(out)
		s.GroupByKey().Count("n").Stream().To(counts)
	},
	// Two parts that share nothing are two subtopologies.
	"apart": func(b *dsl.Builder) {
		left.Stream(b).To(out)
		right.Stream(b).To(out)
	},
	// A topic that is read twice has one source.
	"shared-source": func(b *dsl.Builder) {
		left.Stream(b).To(out)
		left.Table(b, "t")
	},
	// Other serdes for the same types: keys are written anew, so they move.
	"serdes": func(b *dsl.Builder) {
		s := left.Stream(b).WithSerdes(hexString{}, serde.String{})
		dsl.Join(s, dsl.NewTopic("hexed", hexString{}, serde.String{}).Table(b, "t"), "j", same).To(out)
	},
	"process-try": func(b *dsl.Builder) {
		done, failed := dsl.Try(left.Stream(b), func(_, v string) (string, error) { return v, nil })
		dsl.Process(done, func(_ *dsl.Meta, k, v string, emit func(string, string)) error { emit(v, k); return nil }).To(out)
		failed.Discard()
	},
}

func TestDescribe(t *testing.T) {
	datadriven.RunTest(t, "testdata/describe", func(t *testing.T, td *datadriven.TestData) string {
		b := dsl.NewBuilder()
		plan, ok := plans[td.Cmd]
		if !ok {
			t.Fatalf("%s: no plan %q", td.Pos, td.Cmd)
		}
		plan(b)
		top, err := b.Build()
		if err != nil {
			return "error: " + err.Error()
		}
		return top.Describe()
	})
}

// TestDescribeCoversPlans: every plan is in the golden file.
func TestDescribeCoversPlans(t *testing.T) {
	seen := map[string]bool{}
	datadriven.RunTest(t, "testdata/describe", func(_ *testing.T, td *datadriven.TestData) string {
		seen[td.Cmd] = true
		return td.Expected
	})
	for name := range plans {
		if !seen[name] {
			t.Errorf("testdata/describe has no %q", name)
		}
	}
}
