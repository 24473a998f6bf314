package spec

// AllSteps is the table of steps.
func AllSteps() []Step {
	return append(runningSteps(), laterSteps()...)
}

func runningSteps() []Step {
	return []Step{
		{
			Setting: Setting{Name: "filter", Kind: Expr, Doc: "Passes the records for which the expression is true."},
			Keeps:   true, Example: `filter: value.status == "settled" and value.amount >= 100`,
		},
		{
			Setting: Setting{Name: "map", Kind: Either, Doc: "Makes a new value: an object of the fields given, or what one expression gives.", Forms: []Setting{{Kind: Expr}, {Kind: Exprs}}},
			Example: `map: { id: value.id, total: value.price * value.quantity }`,
		},
		{
			Setting: Setting{Name: "set", Kind: Exprs, Doc: "Sets fields of the value and keeps the others. All expressions see the value as it was."},
			Example: `set: { amount_cents: int(value.amount * 100) }`,
		},
		{
			Setting: Setting{Name: "flat_map", Kind: Expr, Doc: "Makes a record of each item of the list that the expression gives; none for null. The key stays."},
			Example: `flat_map: split(lower(value), " ")`,
		},
		{
			Setting: Setting{Name: "rekey", Kind: Expr, Doc: "Gives the record a new key. A step by key that follows moves the records through a repartition topic."},
			Example: `rekey: value.customer`,
		},
		{
			Setting: Setting{Name: "aggregate", Kind: Object, Doc: "Brings the records of a key together and emits the result at each of them.", Fields: []Setting{
				{Name: "store", Kind: Name, Doc: "The name of the step, of its store and of its topics; or give the step a `name`."},
				{Name: "fields", Kind: Map, Required: true, Elem: ptr(aggregates()), Doc: "The fields of the result, each with one aggregate."},
			}},
			Stateful: true, Example: `aggregate: { store: totals, fields: { orders: { count: true }, total: { sum: value.amount } } }`,
		},
		{
			Setting: Setting{Name: "join", Kind: Object, Doc: "Looks the record's key up in a table, as it is when the record is processed.", Fields: []Setting{
				{Name: "table", Kind: Name, Doc: "The table, by its name."},
				{Name: "stream", Kind: Name, Later: true, Doc: "Another stream, instead of a table."},
				{Name: "kind", Kind: Text, Choices: []string{"inner", "left", "outer"}, LaterChoices: []string{"outer"}, Default: "inner", Doc: "inner drops a record without a partner; left keeps it, and `table` is null."},
				{Name: "within", Kind: Duration, Later: true, Doc: "How far apart records of two streams may be."},
				{Name: "select", Kind: Exprs, Required: true, Doc: "The fields of the new value, from `key`, `value` and `table`."},
			}},
			Example: `join: { table: customers, kind: left, select: { id: value.id, name: table?.name } }`,
		},
	}
}

// aggregates is the choice of one aggregate.
func aggregates() Setting {
	expr := func(name, doc string) Setting { return Setting{Name: name, Kind: Expr, Doc: doc} }
	later := func(name, doc string) Setting { return Setting{Name: name, Kind: Free, Doc: doc, Later: true} }
	return Setting{Kind: Object, Fields: []Setting{
		expr("count", "How many records; with an expression, those for which it is true."),
		expr("sum", "The sum of a number; null adds nothing."),
		expr("min", "The least number, text or timestamp; null is passed over."),
		expr("max", "The greatest; null is passed over."),
		expr("avg", "The mean of a number; null is passed over."),
		expr("first", "The value at the first record."),
		expr("last", "The value at the latest record."),
		expr("collect", "A list of the values, at most 1000; more is an error of the record."),
		later("distinct", "How many different values."),
		later("quantile", "A quantile of a number."),
	}}
}

func laterSteps() []Step {
	later := func(name string, kind Kind, doc string, keeps bool) Step {
		return Step{Setting: Setting{Name: name, Kind: kind, Doc: doc, Later: true}, Keeps: keeps}
	}
	window := later("window", Object, "Cuts time into windows for the aggregate that follows.", true)
	for _, f := range []string{"tumbling", "hopping", "every", "session", "grace"} {
		window.Fields = append(window.Fields, Setting{Name: f, Kind: Duration, Doc: "A length of time."})
	}
	when := later("when", Expr, "Takes the steps of `then` or those of `else`.", false)
	when.With = []Setting{
		{Name: "then", Kind: Steps, Doc: "The steps if the expression is true."},
		{Name: "else", Kind: Steps, Doc: "The steps if not."},
	}
	return []Step{
		window, when,
		later("drop", Free, "Removes fields.", false),
		later("keep", Free, "Keeps only some fields.", false),
		later("rename", Free, "Renames fields.", false),
		later("branch", Free, "Sends records different ways.", true),
		later("merge", Free, "Brings streams together; a list in `from` does so today.", true),
		later("fold", Free, "Brings records together by expressions of your own.", false),
		later("dedupe", Free, "Drops what came before.", true),
		later("emit", Free, "Says when results go out.", true),
		later("throttle", Free, "Bounds the rate.", true),
		later("validate", Free, "Refuses records that do not fit.", true),
		later("log", Free, "Logs records.", true),
		later("process", Free, "Calls a function of the program that embeds the pipeline.", false),
	}
}
