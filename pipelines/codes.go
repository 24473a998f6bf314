package pipelines

import (
	"fmt"
	"strings"
)

// Code is the code of a fault, with what it means. Codes stay as they are from
// release to release.
type Code struct {
	Code string
	// Meaning is one sentence; Example is what is wrong, Mend what is right.
	Meaning, Example, Mend string
}

// Codes lists all codes, sorted.
func Codes() []Code {
	return []Code{
		{"aggregate.one", "A field of an aggregate has not exactly one aggregate.", "`total: { sum: value.a, max: value.a }`", "`total: { sum: value.a }`, `most: { max: value.a }`"},
		{"aggregate.type", "An aggregate cannot work on values of this type.", "`total: { sum: value.name }`", "`total: { sum: value.amount }`"},
		{"choice", "A setting has a value that is none of those it knows.", "`guarantee: exactly-once`", "`guarantee: exactly_once`"},
		{"connector.config", "A connector refuses one of its settings.", "`config: { paht: orders.jsonl }`", "`config: { path: orders.jsonl }`"},
		{"connector.role", "A connector is used as a source and can only be a sink, or the other way round.", "`sources: { db: { connector: sqlite } }`", "put it under `sinks`"},
		{"connector.unknown", "There is no connector of this name.", "`connector: fil`", "`connector: file`"},
		{"duration", "Text is not a duration.", "`commit_interval: 5min`", "`commit_interval: 5m`"},
		{"env.syntax", "A reference to an environment variable is not understood.", "`${MY VAR}`", "`${MY_VAR}`"},
		{"env.unset", "An environment variable is not set and has no default.", "`${HOST}`", "`${HOST:-localhost}`"},
		{"errors.topic", "Dead letters have no topic, or a topic is named and no dead letters are written.", "`errors: { on_error: dead_letter }`", "`errors: { on_error: dead_letter, topic: orders.dead }`"},
		{"expr", "An expression is wrong: its grammar, a name, a field or a type.", "`filter: value.amout > 5`", "`filter: value.amount > 5`"},
		{"expr.clock", "Warning: the result depends on the clock of the machine.", "`filter: wall_time() > value.until`", "`filter: timestamp > value.until`"},
		{"expr.comment", "` #` begins a comment in YAML and cut the expression short.", "`ok: any(value.tags, # == 'x')`", "`ok: \"any(value.tags, # == 'x')\"`"},
		{"expr.limit", "An expression is too long.", "16 KiB of text, or 2000 parts", "split it over several steps"},
		{"expr.mapping", "YAML made a mapping or a list of an expression.", "`a: {\"k\": value.x}`", "`a: '{\"k\": value.x}'`"},
		{"expr.null", "A value may be null where that is not allowed.", "`filter: value.maybe`", "`filter: value.maybe ?? false`"},
		{"expr.tag", "YAML made a tag of an expression that begins with `!`.", "`filter: !value.ok`", "`filter: not value.ok`"},
		{"expr.timestamp", "YAML made a date of an expression.", "`a: 2026-01-02`", "`a: 'date(\"2026-01-02\")'`"},
		{"expr.type", "An expression gives a value of the wrong type for its place.", "`filter: value.amount`", "`filter: value.amount > 0`"},
		{"fields", "Fields are declared for values that have none.", "`value: { format: text, fields: { a: int } }`", "`value: { format: json, fields: { a: int } }`"},
		{"file", "The file cannot be read.", "`levada check nothing.yaml`", "name a file that exists"},
		{"flow.cycle", "Flows read each other in a circle.", "`a` reads `b`, `b` reads `a`", "write to a topic and read it as a stream"},
		{"flow.loop", "A flow writes to the topic that it reads.", "`from: s`, `to: s`", "write to another topic"},
		{"flow.none", "The file has no flows.", "`flows: []`", "`flows: [{ name: copy, from: s, to: t }]`"},
		{"flow.nowhere", "The results of a flow go nowhere.", "a flow without `to`", "add `to: topic`"},
		{"join.key", "The keys of the stream and of the table are of different types, so they never meet.", "a stream keyed by text, a table keyed by `int`", "`rekey: int(value.id)` before the join"},
		{"join.table", "A join names no table.", "`join: { select: { … } }`", "`join: { table: customers, select: { … } }`"},
		{"key.type", "The type of a key is not known, so neither is how it is written.", "`rekey: value.anything`", "`rekey: string(value.anything)`"},
		{"merge", "The records of several streams have keys or values that do not go together.", "`from: [lines, orders]`", "bring them to one type in flows of their own"},
		{"name", "A name has characters that it cannot have.", "`name: my flow`", "`name: my-flow`"},
		{"name.duplicate", "Two things have one name.", "two steps with `name: totals`", "give each its own"},
		{"plan", "The flows cannot be put together, for a reason that only the whole shows.", "", "the message names the step"},
		{"range", "A number is too small or too large.", "`workers: 0`", "`workers: 1`"},
		{"ref", "A name refers to nothing.", "`from: order`", "`from: orders`"},
		{"ref.ambiguous", "Warning: a name is that of a stream and of a flow.", "a stream `orders` and a flow `orders`", "rename one"},
		{"ref.table", "A source needs the name of a table, or takes none.", "`from: { source: shop }` with `topics: cdc.{table}`", "`from: { source: shop, table: orders }`"},
		{"ref.twice", "A flow reads the same thing twice.", "`from: [a, a]`", "`from: [a]`"},
		{"setting.missing", "A setting that is required is not there.", "a flow without `from`", "add it"},
		{"setting.unknown", "There is no setting of this name here.", "`nmae: x`", "`name: x`"},
		{"setting.unsupported", "The format has this setting, but this release does not act on it.", "`standby_replicas: 1`", "remove it"},
		{"shape", "A mapping, a list or a single value stands where another shape is wanted.", "`flows: {}`", "`flows: []`"},
		{"sink.unused", "Warning: no flow writes to a sink.", "a sink that no `to` names", "`to: { sink: db }`"},
		{"source.unused", "Warning: a source's topics depend on tables, and no flow names one.", "`topics: cdc.{table}`, and no `from: { source: …, table: … }`", "read it in a flow"},
		{"step.key", "A key stands beside a step that does not belong there.", "`- filter: …` with `stroe: x` beside it", "indent it below the step, or remove it"},
		{"step.name", "A step has two names.", "`name: a` beside `store: b`", "keep one"},
		{"step.none", "A list of steps holds something that is no step.", "`- name: x`", "`- filter: value.ok`"},
		{"step.two", "Two steps are written as one.", "`- filter: …` with `set: …` below it", "begin the second with `- `"},
		{"step.unknown", "There is no step of this name.", "`- fliter: value.ok`", "`- filter: value.ok`"},
		{"step.unnamed", "A step that keeps state has no name.", "`- aggregate: { fields: … }`", "`- aggregate: { store: totals, fields: … }`"},
		{"step.unsupported", "The format has this step, but this release does not run it.", "`- window: { tumbling: 5m }`", "docs/pipelines.md lists the steps that run"},
		{"step.value", "A step cannot work on values of this type.", "`- set: …` on text", "`- map: { text: value }` before it"},
		{"target", "An output names no place, or two.", "`to: { key: value.id }`", "`to: { topic: t, key: value.id }`"},
		{"target.format", "Values cannot be written in the format.", "`format: text` for objects", "`format: json`"},
		{"tests.unsupported", "Warning: the tests in the file are not run by this release.", "`tests: […]`", ""},
		{"topic.name", "A topic cannot have this name.", "`topic: a/b`", "`topic: a.b`"},
		{"topic.twice", "One topic is declared in two ways.", "two streams over one topic with other fields", "give both the same declaration"},
		{"type", "A type is not known.", "`amount: number`", "`amount: float`"},
		{"version", "The version of the format is not known.", "`version: 2`", "`version: 1`"},
		{"yaml.documents", "A file holds more than one document.", "`---` in the middle", "one file for each pipeline"},
		{"yaml.duplicate", "A key stands twice in a mapping.", "`name: a`, `name: b`", "keep one"},
		{"yaml.empty", "The file is empty.", "", "begin with `version: 1`"},
		{"yaml.key", "A key is no name.", "`? [a]`", "`a:`"},
		{"yaml.limit", "The file is too large, too deep, or uses too many aliases.", "more than 1 MiB, 48 levels, 50,000 values or 500 aliases", "split the file"},
		{"yaml.merge", "Merge keys are not part of the format.", "`<<: *defaults`", "write the entries out"},
		{"yaml.syntax", "The text is no YAML; often an expression that needs quotes.", "`a: x ? 1 : 2`", "`a: 'x ? 1 : 2'`"},
	}
}

// CodeReference is the documentation of the codes, in Markdown.
func CodeReference() string {
	var b strings.Builder
	b.WriteString("| code | meaning | wrong | right |\n|---|---|---|---|\n")
	for _, c := range Codes() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Code, cell(c.Meaning), cell(c.Example), cell(c.Mend))
	}
	return b.String()
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
