package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// whereHelp says what an expression can name.
const whereHelp = `only records for which this expr-lang expression is true; it can name key, value (JSON is decoded, other text is a string), text (of the value), headers["NAME"] (the last of that name), topic, partition, offset and timestamp (ms)`

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
	if _, err := expr.Compile(text, expr.Env(whereEnv{}), expr.AsBool()); err != nil {
		return nil, inputError(fmt.Errorf("--where: %w", err))
	}
	program, err := expr.Compile(text, expr.Env(whereEnv{})) // without a check of the result, which takes makes
	if err != nil {
		return nil, inputError(fmt.Errorf("--where: %w", err))
	}
	return &where{text: text, program: program}, nil
}

// takes tells whether the record is wanted. An expression that gives something else
// than true, false or nothing is a mistake of who wrote it.
func (w *where) takes(r *kgo.Record) (bool, error) {
	if w == nil {
		return true, nil
	}
	headers := make(map[string]string, len(r.Headers))
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	w.env = whereEnv{
		decoded(r.Key), decoded(r.Value), string(r.Value), headers, r.Topic, int(r.Partition), int(r.Offset), int(r.Timestamp.UnixMilli()),
	}
	out, err := w.machine.Run(w.program, w.env)
	if out == nil && err == nil {
		err = errors.New("it is null")
	}
	if err != nil {
		if w.skipped++; w.first == nil {
			w.first = fmt.Errorf("partition %d, offset %d: %s", r.Partition, r.Offset, w.inWords(err))
		}
		return false, nil
	}
	wanted, ok := out.(bool)
	if !ok {
		return false, inputError(fmt.Errorf("--where %s gives %s for partition %d, offset %d: write what is true or false, such as %s == %q", w.text, kindOf(reflect.TypeOf(out).String()), r.Partition, r.Offset, w.text, "x"))
	}
	return wanted, nil
}

// kindOf is what JSON calls a type of Go.
func kindOf(t string) string {
	switch {
	case t == "nil", t == "<nil>":
		return "null"
	case t == "string":
		return "text"
	case t == "bool":
		return "true or false"
	case strings.HasPrefix(t, "map["):
		return "an object"
	case strings.HasPrefix(t, "["):
		return "a list"
	}
	return "a number"
}

// decoded is JSON as expressions see it, or the text.
func decoded(b []byte) any {
	if b == nil {
		return nil
	}
	if len(bytes.TrimSpace(b)) > 0 {
		var v any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if json.Valid(b) && d.Decode(&v) == nil {
			return numbered(v)
		}
	}
	return string(b)
}

// numbered has Go's numbers for those of JSON: whole ones stay exact, however large an
// id is; the rest are floating.
func numbered(v any) any {
	switch x := v.(type) {
	case json.Number:
		if n, err := strconv.Atoi(x.String()); err == nil {
			return n
		}
		f, _ := x.Float64() // what is too large is infinite
		return f
	case []any:
		for i := range x {
			x[i] = numbered(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = numbered(x[k])
		}
	}
	return v
}

// report says for how many records there was no result.
func (w *where) report() string {
	if w == nil || w.skipped == 0 {
		return ""
	}
	return fmt.Sprintf("--where %s had no result for %d records, which were left out; the first: %v", w.text, w.skipped, w.first)
}
