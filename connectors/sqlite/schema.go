package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// maxColumns bounds what inferred columns can make of a table.
const maxColumns = 1000

type column struct {
	name string
	kind kind
}

// schema is the table as the sink knows it. It is read anew after a rollback.
type schema struct {
	config  Config
	exists  bool
	columns []column
	index   map[string]int // lower-case name: SQLite does not tell cases apart
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// load reads the columns of the table.
func (s *schema) load(ctx context.Context, tx *sql.Tx) error {
	s.exists, s.columns, s.index = false, nil, map[string]int{}
	rows, err := tx.QueryContext(ctx, "SELECT name, type FROM pragma_table_info(?)", s.config.Table)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name, declared string
		if err := rows.Scan(&name, &declared); err != nil {
			return err
		}
		s.add(name, kindDeclared(declared))
		s.exists = true
	}
	return rows.Err()
}

func (s *schema) add(name string, k kind) {
	s.index[strings.ToLower(name)] = len(s.columns)
	s.columns = append(s.columns, column{name, k})
}

// find returns the place of a column, or -1.
func (s *schema) find(name string) int {
	if i, ok := s.index[strings.ToLower(name)]; ok {
		return i
	}
	return -1
}

// create makes the table with the columns known so far.
func (s *schema) create(ctx context.Context, tx *sql.Tx, columns []column) error {
	defs := make([]string, 0, len(columns)+1)
	for _, c := range columns {
		s.add(c.name, c.kind)
		defs = append(defs, quote(c.name)+" "+c.kind.declaration())
	}
	if len(s.config.PrimaryKey) > 0 {
		defs = append(defs, "PRIMARY KEY ("+quoteList(s.config.PrimaryKey)+")")
	}
	s.exists = true
	_, err := tx.ExecContext(ctx, fmt.Sprintf("CREATE TABLE %s (%s)", quote(s.config.Table), strings.Join(defs, ", ")))
	return err
}

// extend adds one column.
func (s *schema) extend(ctx context.Context, tx *sql.Tx, c column) error {
	s.add(c.name, c.kind)
	_, err := tx.ExecContext(ctx, fmt.Sprintf("ALTER TABLE %s ADD COLUMN %s %s", quote(s.config.Table), quote(c.name), c.kind.declaration()))
	return err
}

// configured lists the columns of the configuration, primary key first.
func (c Config) configured() []column {
	var out []column
	for _, name := range c.PrimaryKey {
		if k, ok := c.Columns[name]; ok {
			out = append(out, column{name, kindNamed(k)})
		}
	}
	names := make([]string, 0, len(c.Columns))
	for name := range c.Columns {
		if !slices.Contains(c.PrimaryKey, name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		out = append(out, column{name, kindNamed(c.Columns[name])})
	}
	return out
}

// writable lists the columns that a statement sets: all, or the configured.
func (s *schema) writable() []int {
	var out []int
	for i, c := range s.columns {
		if _, ok := s.config.Columns[c.name]; ok || len(s.config.Columns) == 0 {
			out = append(out, i)
		}
	}
	return out
}

// insertStatement writes a whole row: a field that a record lacks becomes NULL.
func (s *schema) insertStatement(columns []int) string {
	names, marks, updates := make([]string, len(columns)), make([]string, len(columns)), []string{}
	for n, i := range columns {
		name := s.columns[i].name
		names[n], marks[n] = name, "?"
		if !s.isKey(name) {
			updates = append(updates, quote(name)+" = excluded."+quote(name))
		}
	}
	q := fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s)", quote(s.config.Table), quoteList(names), strings.Join(marks, ", "))
	switch {
	case s.config.Mode == "insert":
		return q
	case len(updates) == 0:
		return q + " ON CONFLICT (" + quoteList(s.config.PrimaryKey) + ") DO NOTHING"
	}
	return q + " ON CONFLICT (" + quoteList(s.config.PrimaryKey) + ") DO UPDATE SET " + strings.Join(updates, ", ")
}

func (s *schema) deleteStatement() string {
	conditions := make([]string, len(s.config.PrimaryKey))
	for i, name := range s.config.PrimaryKey {
		conditions[i] = quote(name) + " = ?"
	}
	return fmt.Sprintf("DELETE FROM %s WHERE %s", quote(s.config.Table), strings.Join(conditions, " AND "))
}

func (s *schema) isKey(name string) bool {
	return slices.ContainsFunc(s.config.PrimaryKey, func(k string) bool { return strings.EqualFold(k, name) })
}

func quoteList(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = quote(n)
	}
	return strings.Join(quoted, ", ")
}
