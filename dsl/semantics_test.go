package dsl_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime/streamtest"
	"github.com/levada/levada/runtime/topology"
)

var (
	left   = dsl.NewTopic("left", serde.String{}, serde.String{})
	right  = dsl.NewTopic("right", serde.String{}, serde.String{})
	out    = dsl.NewTopic("out", serde.String{}, serde.String{})
	counts = dsl.NewTopic("counts", serde.String{}, serde.Int64{})
	people = dsl.NewTopic("people", serde.String{}, serde.JSON[*person]{})
)

type person struct {
	Name string   `json:"name"`
	Tags []string `json:"tags,omitempty"`
}

// topologies are what the scripts of testdata/semantics run, by file name.
var topologies = map[string]func(b *dsl.Builder){
	"join-inner": func(b *dsl.Builder) {
		dsl.Join(left.Stream(b), right.Table(b, "table"), "joined", func(l, r string) string { return "[" + l + "," + r + "]" }).To(out)
	},
	"join-left": func(b *dsl.Builder) {
		dsl.LeftJoin(left.Stream(b), right.Table(b, "table"), "joined", leftText).To(out)
	},
	"join-left-repartitioned": func(b *dsl.Builder) {
		s := dsl.SelectKey(left.Stream(b), func(_, v string) string { return v[:1] })
		dsl.LeftJoin(s, right.Table(b, "table"), "joined", leftText).To(out)
	},
	"count": func(b *dsl.Builder) {
		left.Stream(b).GroupByKey().Count("counted").Stream().To(counts)
	},
	"count-on-commit": func(b *dsl.Builder) {
		left.Stream(b).GroupByKey().Count("counted", dsl.EmitOnCommit()).Stream().To(counts)
	},
	"count-of-counts-on-commit": func(b *dsl.Builder) {
		perKey := left.Stream(b).GroupByKey().Count("per-key", dsl.EmitOnCommit()).Stream()
		dsl.GroupBy(perKey, func(_ string, n int64) string { return fmt.Sprint(n) }).Count("how-many", dsl.EmitOnCommit()).Stream().To(counts)
	},
	"reduce": func(b *dsl.Builder) {
		left.Stream(b).GroupByKey().Reduce("joined", func(a, v string) string { return a + v }).Stream().To(out)
	},
	"aggregate-delete": func(b *dsl.Builder) {
		agg := dsl.Aggregate(left.Stream(b).GroupByKey(), "sum", func() *person { return &person{Name: "new"} },
			func(k, v string, p *person) *person {
				if v == "delete" {
					return nil
				}
				p.Tags = append(p.Tags, v)
				return p
			})
		agg.Stream().To(people)
	},
	"to-table": func(b *dsl.Builder) {
		left.Stream(b).ToTable("table").Stream().To(out)
	},
	"table-of-topic": func(b *dsl.Builder) {
		right.Table(b, "table").Stream().To(out)
	},
	"table-on-commit": func(b *dsl.Builder) {
		right.Table(b, "table", dsl.EmitOnCommit()).Stream().To(out)
	},
	"nulls": func(b *dsl.Builder) {
		s := left.Stream(b)
		s.Filter(func(_, v string) bool { return v != "no" }).To(out)
		dsl.MapValues(s, strings.ToUpper).To(dsl.NewTopic("mapped", serde.String{}, serde.String{}))
		dsl.Map(s, func(k, v string) (string, string) { return k + "!", v + "!" }).To(dsl.NewTopic("rekeyed", serde.String{}, serde.String{}))
		dsl.FlatMapValues(s, strings.Fields).To(dsl.NewTopic("words", serde.String{}, serde.String{}))
		people.Stream(b).Peek(func(_ string, p *person) {
			if p != nil {
				p.Name += ""
			}
		})
		dsl.MapValues(people.Stream(b), func(p *person) *person {
			if p == nil {
				return &person{Name: "nobody"}
			}
			if p.Name == "" {
				return nil
			}
			return p
		}).To(dsl.NewTopic("people-out", serde.String{}, serde.JSON[*person]{}))
	},
	"time": func(b *dsl.Builder) {
		left.Stream(b).GroupByKey().Count("counted").Stream().To(counts)
		left.Stream(b).GroupByKey().Reduce("newest", func(_, v string) string { return v }).Stream().To(out)
	},
	"merge-branch": func(b *dsl.Builder) {
		parts := left.Stream(b).Merge(right.Stream(b)).Branch(
			func(_, v string) bool { return strings.HasPrefix(v, "a") },
			func(_, v string) bool { return strings.HasPrefix(v, "ab") || v == "b" },
		)
		parts[0].To(out)
		parts[1].To(dsl.NewTopic("mapped", serde.String{}, serde.String{}))
		parts[2].To(dsl.NewTopic("words", serde.String{}, serde.String{}))
	},
}

func leftText(l, r string, found bool) string {
	if !found {
		r = "null"
	}
	return "[" + l + "," + r + "]"
}

var scriptTopics = []streamtest.TextTopic{
	left, right, out, counts, people,
	dsl.NewTopic("mapped", serde.String{}, serde.String{}),
	dsl.NewTopic("rekeyed", serde.String{}, serde.String{}),
	dsl.NewTopic("words", serde.String{}, serde.String{}),
	dsl.NewTopic("people-out", serde.String{}, serde.JSON[*person]{}),
	dsl.NewTopic("counted-changelog", serde.String{}, serde.Int64{}),
	dsl.NewTopic("table-changelog", serde.String{}, serde.String{}),
}

// TestSemantics runs each script of testdata/semantics over its topology: the
// truth tables of Kafka Streams, and what we do about nulls and time.
func TestSemantics(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(topologies)) {
		t.Run(name, func(t *testing.T) {
			setup := func() (*topology.Topology, error) {
				b := dsl.NewBuilder()
				topologies[name](b)
				return b.Build()
			}
			streamtest.RunScript(t, filepath.Join("testdata", "semantics", name), setup, scriptTopics...)
		})
	}
}
