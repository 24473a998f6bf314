package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// whereHelp says what an expression can name.
const whereHelp = `only records for which this expr-lang expression is true; it can name key, value (JSON is decoded, other text is a string), text (of the value), headers["NAME"], topic, partition, offset and timestamp (ms)`

// where chooses records by an expression.
type where struct {
	text    string
	program *vm.Program
	machine vm.VM
	env     whereEnv
	// skipped are records for which the expression had no result, first says why
	// the first had none.
	skipped int64
	first   error
}

// whereEnv is what an expression can name.
type whereEnv struct {
	Key       any               `expr:"key"`
	Value     any               `expr:"value"`
	Text      string            `expr:"text"`
	Headers   map[string]string `expr:"headers"`
	Topic     string            `expr:"topic"`
	Partition int               `expr:"partition"`
	Offset    int               `expr:"offset"`
	Timestamp int               `expr:"timestamp"`
}

// newWhere compiles an expression; the empty one is nil, which takes every record.
func newWhere(text string) (*where, error) {
	if text == "" {
		return nil, nil
	}
	program, err := expr.Compile(text, expr.Env(whereEnv{}), expr.AsBool())
	if err != nil {
		return nil, inputError(fmt.Errorf("--where: %w", err))
	}
	return &where{text: text, program: program}, nil
}

// takes tells whether the record is wanted.
func (w *where) takes(r *kgo.Record) bool {
	if w == nil {
		return true
	}
	headers := make(map[string]string, len(r.Headers))
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	w.env = whereEnv{
		decoded(r.Key), decoded(r.Value), string(r.Value), headers, r.Topic, int(r.Partition), int(r.Offset), int(r.Timestamp.UnixMilli()),
	}
	out, err := w.machine.Run(w.program, w.env)
	if err != nil {
		if w.skipped++; w.first == nil {
			w.first = fmt.Errorf("partition %d, offset %d: %w", r.Partition, r.Offset, err)
		}
		return false
	}
	return out.(bool)
}

// decoded is JSON as expressions see it, or the text.
func decoded(b []byte) any {
	if b == nil {
		return nil
	}
	if len(bytes.TrimSpace(b)) > 0 {
		var v any
		if json.Unmarshal(b, &v) == nil {
			return v
		}
	}
	return string(b)
}

// report says for how many records there was no result.
func (w *where) report() string {
	if w == nil || w.skipped == 0 {
		return ""
	}
	return fmt.Sprintf("--where %s had no result for %d records, which were left out; the first: %v", w.text, w.skipped, w.first)
}
