package spec

// Formats of keys and values, and what else the table lists by name.
var (
	keyFormats   = []string{"string", "int", "float", "json", "bytes"}
	valueFormats = []string{"json", "text", "bytes"}
)

// Pipeline is the table: the whole file.
func Pipeline() Setting {
	return Setting{Kind: Object, Doc: "A pipeline file.", Fields: []Setting{
		{Name: "version", Kind: Int, Required: true, Min: 1, Max: 1, Doc: "The version of the format."},
		{Name: "name", Kind: Name, Required: true, Doc: "The application id: consumer group, changelogs, repartition topics and transactional ids derive from it, so renaming it begins anew."},
		{Name: "description", Kind: Text, Doc: "What the pipeline is for."},
		{Name: "streams", Kind: Map, Elem: ptr(stream()), Doc: "Topics that are read record by record."},
		{Name: "tables", Kind: Map, Elem: ptr(table()), Doc: "Topics that are read as tables: the newest value of each key."},
		{Name: "sources", Kind: Map, Elem: ptr(source()), Doc: "Connectors that bring records into topics."},
		{Name: "sinks", Kind: Map, Elem: ptr(sink()), Doc: "Connectors that take records out of topics."},
		{Name: "flows", Kind: List, Required: true, Elem: ptr(flow()), Doc: "The chains of steps."},
		errorsSetting("What becomes of a record that cannot be processed.", "fail"),
		settings(),
		{Name: "tests", Kind: Free, Doc: "Tests of the flows. This release checks that the part is there and does not run it."},
	}}
}

func ptr(s Setting) *Setting { return &s }

func keySetting(doc string) Setting {
	return Setting{Name: "key", Kind: Text, Choices: keyFormats, Default: "string", Doc: doc}
}

func valueSetting(doc string) Setting {
	format := Setting{Name: "format", Kind: Text, Choices: valueFormats, Default: "json", Doc: "How a value is written: JSON, text, or bytes as they are."}
	fields := Setting{Name: "fields", Kind: Types, Doc: "The fields of a JSON object with their types. A field that is not listed is kept, but expressions cannot use it; without the list every field may be used and has no known type."}
	return Setting{Name: "value", Kind: Either, Default: "json", Doc: doc, Forms: []Setting{
		{Kind: Text, Choices: valueFormats},
		{Kind: Object, Fields: []Setting{format, fields}},
	}}
}

func stream() Setting {
	return Setting{Kind: Object, Fields: []Setting{
		{Name: "topic", Kind: Topic, Required: true, Doc: "The topic to read. It is created if it is missing."},
		keySetting("How keys are written."),
		valueSetting("How values are written, and their fields."),
		timestamp(),
	}}
}

func timestamp() Setting {
	return Setting{Name: "timestamp", Kind: Expr, Doc: "The time of a record: a timestamp, or a whole number of milliseconds since 1970. Without it the record's own."}
}

func table() Setting {
	return Setting{Kind: Object, Fields: []Setting{
		{Name: "topic", Kind: Topic, Required: true, Doc: "The topic to read. It is created, compacted, if it is missing; a compacted topic serves as changelog."},
		keySetting("How keys are written."),
		valueSetting("How values are written, and their fields. A null value deletes its key."),
	}}
}

func connector() Setting {
	return Setting{Name: "connector", Kind: Name, Required: true, Doc: "The name of the plugin."}
}

func config() Setting {
	return Setting{Name: "config", Kind: Free, Doc: "The settings of the plugin; `levada check` checks those of the built-in ones."}
}

func source() Setting {
	return Setting{Kind: Object, Fields: []Setting{
		connector(), config(),
		{Name: "topics", Kind: Text, Default: "NAME.SOURCE", Doc: "The topic to write, created if it is missing. `{table}` stands for the table of a flow's `from`."},
		keySetting("How the plugin writes keys."),
		valueSetting("How the plugin writes values, and their fields."),
		timestamp(),
		{Name: "schema", Kind: Text, Choices: []string{"auto"}, Later: true, Doc: "Take the fields from the source's own schema."},
		errorsSetting("What becomes of input that is no record.", "that of the pipeline"),
	}}
}

func sink() Setting {
	return Setting{Kind: Object, Fields: []Setting{
		connector(), config(),
		errorsSetting("What becomes of a record that the target refuses.", "that of the pipeline"),
	}}
}

func errorsSetting(doc, otherwise string) Setting {
	onError := Setting{
		Name: "on_error", Kind: Text, Required: true, Choices: []string{"fail", "skip", "dead_letter", "retry"}, LaterChoices: []string{"retry"},
		Doc: "fail stops with the error; skip drops the record and counts it; dead_letter writes it, as it came, to the topic, with the reason in its headers.",
	}
	return Setting{Name: "errors", Kind: Either, Default: otherwise, Doc: doc, Forms: []Setting{
		{Kind: Text, Choices: []string{"fail", "skip"}},
		{Kind: Object, Fields: []Setting{
			onError,
			{Name: "topic", Kind: Topic, Doc: "The topic of dead letters, created if it is missing."},
			{Name: "max_attempts", Kind: Int, Min: 1, Max: 1000, Later: true, Doc: "How often to try."},
			{Name: "then", Kind: Text, Choices: []string{"fail", "skip", "dead_letter"}, Later: true, Doc: "What to do after the last attempt."},
		}},
	}}
}

func flow() Setting {
	return Setting{Kind: Object, Fields: []Setting{
		{Name: "name", Kind: Name, Required: true, Doc: "The name of the flow. Other flows can read it."},
		{Name: "from", Kind: Either, Required: true, Doc: "What the flow reads: a stream or another flow by its name, a list of them (their records come together), or `{source: NAME}`.", Forms: []Setting{
			{Kind: Name},
			{Kind: List, Elem: &Setting{Kind: Name}},
			{Kind: Object, Fields: []Setting{
				{Name: "source", Kind: Name, Required: true, Doc: "A source by its name."},
				{Name: "table", Kind: Text, Doc: "What `{table}` stands for in the source's `topics`."},
			}},
		}},
		{Name: "steps", Kind: Steps, Doc: "What is done to each record, in order."},
		target("to", "Where the results go: a topic by its name, a topic with more settings, or a sink. A flow without it must be read by another one."),
		{Name: "also_to", Kind: Either, Doc: "Further outputs: one like `to`, or a list of them.", Forms: []Setting{
			{Kind: Topic},
			target("", "").Forms[1],
			{Kind: List, Elem: ptr(target("", ""))},
		}},
		{Name: "errors", Kind: Free, Later: true, Doc: "What becomes of a record that this flow cannot process."},
	}}
}

func target(name, doc string) Setting {
	return Setting{Name: name, Kind: Either, Doc: doc, Forms: []Setting{
		{Kind: Topic},
		{Kind: Object, Fields: []Setting{
			{Name: "topic", Kind: Topic, Doc: "The topic to write. It is created if it is missing."},
			{Name: "key", Kind: Expr, Doc: "The key to write instead of the record's."},
			{Name: "headers", Kind: Exprs, Doc: "Headers to add; an expression that gives null adds none."},
			{Name: "format", Kind: Text, Choices: valueFormats, Default: "text for text, bytes for bytes, else json", Doc: "How values are written."},
			{Name: "key_format", Kind: Text, Choices: keyFormats, Default: "that of the key's type", Doc: "How keys are written."},
			{Name: "partition", Kind: Expr, Later: true, Doc: "The partition to write to."},
			{Name: "sink", Kind: Name, Doc: "A sink by its name, instead of a topic."},
			{Name: "table", Kind: Text, Doc: "With `sink`: becomes the setting `table` of its config."},
		}},
	}}
}

func settings() Setting {
	return Setting{Name: "settings", Kind: Object, Doc: "How the pipeline runs.", Fields: []Setting{
		{Name: "guarantee", Kind: Text, Choices: []string{"exactly_once", "at_least_once"}, Default: "exactly_once", Doc: "What a crash may do to results."},
		{Name: "commit_interval", Kind: Duration, Default: "100ms", Doc: "The time between commits, 1ms to 5m."},
		{Name: "workers", Kind: Int, Min: 1, Max: 64, Default: "1", Doc: "How many partitions are worked on at a time in one process."},
		{Name: "partitions", Kind: Int, Min: 1, Max: 1024, Default: "4", Doc: "Partitions of the topics that the pipeline creates. Topics that exist stay as they are."},
		{Name: "standby_replicas", Kind: Int, Min: 0, Max: 8, Default: "0", Later: true, Doc: "Copies of the state kept by other processes."},
	}}
}
