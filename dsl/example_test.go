package dsl_test

import (
	"fmt"
	"strings"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime/streamtest"
	"github.com/levada/levada/runtime/topology"
)

// mustRun runs a topology in memory, for the examples.
func mustRun(b *dsl.Builder) *streamtest.Driver {
	plan, err := b.Build()
	if err != nil {
		panic(err)
	}
	d, err := streamtest.Open(streamtest.Config{Topology: plan})
	if err != nil {
		panic(err)
	}
	return d
}

func Example() {
	lines := dsl.NewTopic("lines", serde.Bytes{}, serde.String{})
	counts := dsl.NewTopic("word-counts", serde.String{}, serde.Int64{})

	b := dsl.NewBuilder()
	words := dsl.FlatMapValues(lines.Stream(b), strings.Fields)
	dsl.GroupBy(words, func(_ []byte, word string) string { return word }).Count("counts").Stream().To(counts)

	d := mustRun(b)
	streamtest.Input(d, lines).Send(nil, "to be or not to be")
	fmt.Println(streamtest.Output(d, counts).Text())
	// Output: to=1 be=1 or=1 not=1 to=2 be=2
}

func ExampleTopic_Stream() {
	readings := dsl.NewTopic("readings", serde.String{}, serde.Float64{})
	warm := dsl.NewTopic("warm", serde.String{}, serde.Float64{})

	b := dsl.NewBuilder()
	readings.Stream(b).Filter(func(_ string, celsius float64) bool { return celsius > 20 }).To(warm)

	d := mustRun(b)
	in := streamtest.Input(d, readings)
	in.Send("kitchen", 21.5)
	in.Send("cellar", 12)
	fmt.Println(streamtest.Output(d, warm).Text())
	// Output: kitchen=21.5
}

func ExampleMapValues() {
	celsius := dsl.NewTopic("celsius", serde.String{}, serde.Float64{})
	fahrenheit := dsl.NewTopic("fahrenheit", serde.String{}, serde.Float64{})

	b := dsl.NewBuilder()
	dsl.MapValues(celsius.Stream(b), func(c float64) float64 { return c*9/5 + 32 }).To(fahrenheit)

	d := mustRun(b)
	streamtest.Input(d, celsius).Send("kitchen", 20)
	fmt.Println(streamtest.Output(d, fahrenheit).Text())
	// Output: kitchen=68
}

func ExampleStream_Branch() {
	numbers := dsl.NewTopic("numbers", serde.String{}, serde.Int64{})
	even := dsl.NewTopic("even", serde.String{}, serde.Int64{})
	big := dsl.NewTopic("big", serde.String{}, serde.Int64{})

	b := dsl.NewBuilder()
	parts := numbers.Stream(b).Branch(
		func(_ string, n int64) bool { return n%2 == 0 },
		func(_ string, n int64) bool { return n > 100 },
	)
	parts[0].To(even)
	parts[1].To(big)
	parts[2].Discard()

	d := mustRun(b)
	in := streamtest.Input(d, numbers)
	for _, n := range []int64{1, 2, 101, 102} {
		in.Send("n", n)
	}
	fmt.Println(streamtest.Output(d, even).Text())
	fmt.Println(streamtest.Output(d, big).Text())
	// Output:
	// n=2 n=102
	// n=101
}

func ExampleGrouped_Reduce() {
	bids := dsl.NewTopic("bids", serde.String{}, serde.Int64{})
	highest := dsl.NewTopic("highest", serde.String{}, serde.Int64{})

	b := dsl.NewBuilder()
	bids.Stream(b).GroupByKey().Reduce("highest", func(a, b int64) int64 { return max(a, b) }).Stream().To(highest)

	d := mustRun(b)
	in := streamtest.Input(d, bids)
	in.Send("vase", 10)
	in.Send("vase", 30)
	in.Send("vase", 20)
	fmt.Println(streamtest.Output(d, highest).Text())
	// Output: vase=10 vase=30 vase=30
}

func ExampleAggregate() {
	type stats struct{ N, Sum int64 }
	readings := dsl.NewTopic("readings", serde.String{}, serde.Int64{})
	averages := dsl.NewTopic("averages", serde.String{}, serde.Int64{})

	b := dsl.NewBuilder()
	perSensor := dsl.Aggregate(readings.Stream(b).GroupByKey(), "stats",
		func() stats { return stats{} },
		func(_ string, reading int64, s stats) stats { return stats{s.N + 1, s.Sum + reading} })
	dsl.MapValues(perSensor.Stream(), func(s stats) int64 { return s.Sum / s.N }).To(averages)

	d := mustRun(b)
	in := streamtest.Input(d, readings)
	in.Send("a", 10)
	in.Send("a", 20)
	fmt.Println(streamtest.Output(d, averages).Text())
	// Output: a=10 a=15
}

func ExampleJoin() {
	orders := dsl.NewTopic("orders", serde.String{}, serde.Int64{})
	names := dsl.NewTopic("names", serde.String{}, serde.String{})
	named := dsl.NewTopic("named", serde.String{}, serde.String{})

	b := dsl.NewBuilder()
	customers := names.Table(b, "customers")
	dsl.Join(orders.Stream(b), customers, "orders-with-names", func(cents int64, name string) string {
		return fmt.Sprintf("%s pays %d", name, cents)
	}).To(named)

	d := mustRun(b)
	streamtest.Input(d, names).Send("c1", "Ada")
	in := streamtest.Input(d, orders)
	in.Send("c1", 500)
	in.Send("c2", 700) // nobody we know
	fmt.Println(streamtest.Output(d, named).Text())
	// Output: c1="Ada pays 500"
}

func ExampleTry() {
	texts := dsl.NewTopic("texts", serde.String{}, serde.String{})
	numbers := dsl.NewTopic("numbers", serde.String{}, serde.Int64{})
	refused := dsl.NewTopic("refused", serde.String{}, serde.JSON[dsl.Failed[string]]{})

	b := dsl.NewBuilder()
	parsed, failed := dsl.Try(texts.Stream(b), func(_, text string) (int64, error) {
		var n int64
		_, err := fmt.Sscan(text, &n)
		return n, err
	})
	parsed.To(numbers)
	failed.To(refused)

	d := mustRun(b)
	in := streamtest.Input(d, texts)
	in.Send("a", "42")
	in.Send("b", "x")
	fmt.Println(streamtest.Output(d, numbers).Text())
	fmt.Println(streamtest.Output(d, refused).Text())
	// Output:
	// a=42
	// b={"value":"x","error":"expected integer"}
}

func ExampleEmitOnCommit() {
	clicks := dsl.NewTopic("clicks", serde.String{}, serde.Bytes{})
	counts := dsl.NewTopic("counts", serde.String{}, serde.Int64{})

	b := dsl.NewBuilder()
	clicks.Stream(b).GroupByKey().Count("per-page", dsl.EmitOnCommit()).Stream().To(counts)

	d := mustRun(b)
	in := streamtest.Input(d, clicks)
	for range 3 {
		in.Send("home", []byte("click"))
	}
	fmt.Printf("before: %q\n", streamtest.Output(d, counts).Text())
	if err := d.Commit(); err != nil {
		panic(err)
	}
	fmt.Printf("after: %q\n", streamtest.Output(d, counts).Text())
	// Output:
	// before: ""
	// after: "home=3"
}

func ExampleBuilder_Build() {
	lines := dsl.NewTopic("lines", serde.Bytes{}, serde.String{})
	counts := dsl.NewTopic("word-counts", serde.String{}, serde.Int64{})

	b := dsl.NewBuilder()
	words := dsl.FlatMapValues(lines.Stream(b), strings.Fields)
	dsl.GroupBy(words, func(_ []byte, word string) string { return word }).Count("counts").Stream().To(counts)

	var plan *topology.Topology
	plan, err := b.Build()
	if err != nil {
		panic(err)
	}
	fmt.Print(plan.Describe())
	// Output:
	// subtopology 0
	//   lines-source: source of topic lines from earliest
	//   flatMapValues-1: flatMapValues <- lines-source
	//   groupBy-1: groupBy <- flatMapValues-1
	//   counts-repartition: repartition <- groupBy-1 to repartition topic counts-repartition
	//
	// subtopology 1
	//   counts-repartition-source: source of repartition topic counts-repartition
	//   counts: count <- counts-repartition-source [store counts] (emits every update)
	//   toStream-1: toStream <- counts
	//   to-word-counts: sink <- toStream-1 to topic word-counts
	//   store counts: changelog counts-changelog
}
