package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/levada/levada/connectors/sdk"
)

// maxRejections bounds what one attempt collects; the rest is found by the
// next one.
const maxRejections = 1000

// writer writes the records of one transaction. Its statements live as long
// as the columns stay the same.
type writer struct {
	ctx    context.Context
	tx     *sql.Tx
	schema *schema
	sink   *sink

	columns    []int // that the statement sets
	values     []any // of one row, by place in columns
	place      []int // of a schema column in values, or -1
	upsert     *sql.Stmt
	remove     *sql.Stmt
	rejections []sdk.Rejection
}

// refusal is a record that does not fit.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// write writes one record, or notes why it cannot. After the first rejection
// the transaction is lost; the other records are only tried.
func (w *writer) write(rec *sdk.Record) error {
	if len(w.rejections) >= maxRejections {
		return nil
	}
	var err error
	if rec.Value == nil {
		err = w.tombstone(rec)
	} else {
		err = w.row(rec)
	}
	r, refused := errors.AsType[*refusal](err)
	switch {
	case refused:
	case err != nil && isRefusal(err):
		r = &refusal{err.Error()}
	default:
		return err
	}
	w.rejections = append(w.rejections, sdk.Rejection{TopicPartition: rec.TopicPartition, Offset: rec.Offset, Reason: r.reason})
	return nil
}

func (w *writer) row(rec *sdk.Record) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(rec.Value, &fields); err != nil || fields == nil {
		return refuse("the value is not a JSON object: %.80q", rec.Value)
	}
	if err := w.takeKey(rec, fields); err != nil {
		return err
	}
	if err := w.fit(fields); err != nil {
		return err
	}
	clear(w.values)
	for name, raw := range fields {
		i := w.schema.find(name)
		if i < 0 || w.place[i] < 0 {
			continue
		}
		v, err := w.schema.columns[i].kind.convert(raw)
		if err != nil {
			return refuse("field %q: %v", name, err)
		}
		if w.values[w.place[i]] != nil {
			return refuse("two fields are called %q but for their case, and SQLite does not tell them apart", name)
		}
		w.values[w.place[i]] = v
	}
	_, err := w.upsert.ExecContext(w.ctx, w.values...)
	return err
}

// takeKey fills the fields of the primary key that the value lacks from the
// record's key.
func (w *writer) takeKey(rec *sdk.Record, fields map[string]json.RawMessage) error {
	for _, name := range w.schema.config.PrimaryKey {
		raw, ok := fields[name]
		if !ok {
			raw = w.fromKey(rec.Key, name)
		}
		if raw == nil || string(raw) == "null" {
			return refuse("the record has no %q, which is in primary_key, neither in its value nor as its key", name)
		}
		fields[name] = raw
	}
	return nil
}

// fromKey finds a column of the primary key in a record's key: a member of a
// JSON object, or, if it is the only one, the key itself.
func (w *writer) fromKey(key []byte, name string) json.RawMessage {
	if key == nil {
		return nil
	}
	var object map[string]json.RawMessage
	if len(key) > 0 && key[0] == '{' && json.Unmarshal(key, &object) == nil {
		return object[name]
	}
	if len(w.schema.config.PrimaryKey) > 1 {
		return nil
	}
	k := kindNamed(w.schema.config.Columns[name])
	if i := w.schema.find(name); i >= 0 {
		k = w.schema.columns[i].kind
	}
	return keyAsJSON(key, k)
}

// fit makes sure that the table has a column for each field, and the statement
// with it.
func (w *writer) fit(fields map[string]json.RawMessage) error {
	var missing []column
	if len(w.schema.config.Columns) == 0 {
		var err error
		if missing, err = w.missingColumns(fields); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		if err := w.sink.ensureColumns(w.ctx, w.tx, missing); err != nil {
			return err
		}
	}
	if len(missing) == 0 && w.upsert != nil {
		return nil
	}
	return w.prepare()
}

// missingColumns infers columns from fields that have a value.
func (w *writer) missingColumns(fields map[string]json.RawMessage) ([]column, error) {
	if w.hasAll(fields) {
		return nil, nil
	}
	var missing []column
	for _, name := range orderedNames(w.schema.config.PrimaryKey, fields) {
		raw := fields[name]
		if raw[0] == 'n' || w.schema.find(name) >= 0 {
			continue
		}
		if name == "" || strings.ContainsRune(name, 0) {
			return nil, refuse("field %q cannot be the name of a column", name)
		}
		for _, m := range missing {
			if strings.EqualFold(m.name, name) {
				return nil, refuse("the fields %q and %q differ in case only, and SQLite does not tell them apart", m.name, name)
			}
		}
		missing = append(missing, column{name, kindOf(raw)})
	}
	if len(w.schema.columns)+len(missing) > maxColumns {
		return nil, refuse("the table would have more than %d columns", maxColumns)
	}
	if len(missing) == 0 && !w.schema.exists {
		return nil, refuse("the value has no field to make a table of")
	}
	return missing, nil
}

// hasAll tells whether the table has a column for each field with a value.
func (w *writer) hasAll(fields map[string]json.RawMessage) bool {
	for name, raw := range fields {
		if raw[0] != 'n' && w.schema.find(name) < 0 {
			return false
		}
	}
	return w.schema.exists
}

// orderedNames lists the key first and then the other fields by name, so that
// a table looks the same whenever it is made.
func orderedNames(key []string, fields map[string]json.RawMessage) []string {
	c := Config{PrimaryKey: key, Columns: map[string]string{}}
	for name := range fields {
		c.Columns[name] = ""
	}
	var names []string
	for _, col := range c.configured() {
		names = append(names, col.name)
	}
	return names
}

func (w *writer) prepare() error {
	w.columns = w.schema.writable()
	w.values = make([]any, len(w.columns))
	w.place = make([]int, len(w.schema.columns))
	for i := range w.place {
		w.place[i] = -1
	}
	for n, i := range w.columns {
		w.place[i] = n
	}
	var err error
	w.upsert, err = w.tx.PrepareContext(w.ctx, w.schema.insertStatement(w.columns))
	return err
}

// tombstone deletes the row of a key.
func (w *writer) tombstone(rec *sdk.Record) error {
	if w.schema.config.Mode != "upsert" {
		return refuse("a record without a value cannot be a row (mode insert)")
	}
	var values []any
	for _, name := range w.schema.config.PrimaryKey {
		raw := w.fromKey(rec.Key, name)
		if raw == nil || string(raw) == "null" {
			return refuse("the key of a tombstone has no %q, which is in primary_key", name)
		}
		k := kindAny
		if i := w.schema.find(name); i >= 0 {
			k = w.schema.columns[i].kind
		}
		v, err := k.convert(raw)
		if err != nil {
			return refuse("key field %q: %v", name, err)
		}
		values = append(values, v)
	}
	if !w.schema.exists {
		return nil // no table, no row
	}
	if w.remove == nil {
		var err error
		if w.remove, err = w.tx.PrepareContext(w.ctx, w.schema.deleteStatement()); err != nil {
			return err
		}
	}
	_, err := w.remove.ExecContext(w.ctx, values...)
	return err
}
