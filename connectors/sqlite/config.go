package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/levada/levada/connectors/sdk"
)

// Config are the settings of the sink.
type Config struct {
	// Path names the database file, which is created if it is missing.
	Path string `config:"path" required:"true" doc:"the database file"`
	// Table is written to.
	Table string `config:"table" required:"true" doc:"the table to write to"`
	// Mode is upsert or insert.
	Mode string `config:"mode" default:"upsert" choices:"upsert,insert" doc:"upsert: a record replaces the row with its key, a tombstone deletes it; insert: every record is a row"`
	// PrimaryKey lists the columns that identify a row. A column that the value
	// lacks is taken from the record's key.
	PrimaryKey []string `config:"primary_key" doc:"the columns that identify a row (mode upsert)"`
	// Columns fixes the columns and their kinds; other fields are not written.
	// Empty: columns are added as fields appear.
	Columns map[string]string `config:"columns" doc:"columns and kinds (text, integer, real, number, boolean, json); without it they are inferred"`
	// Create makes a missing table.
	Create bool `config:"create" default:"true" doc:"create the table and its columns if they are missing"`
	// JournalMode is set on the database.
	JournalMode string `config:"journal_mode" default:"wal" choices:"wal,delete,keep" doc:"wal lets others read while rows are written; keep leaves it as it is"`
	// BusyTimeout bounds the wait for another writer.
	BusyTimeout time.Duration `config:"busy_timeout" default:"30s" doc:"how long to wait while another process writes"`
}

// Validate checks what tags cannot say.
func (c Config) Validate() []sdk.Fault {
	var faults []sdk.Fault
	fault := func(field, message, mend string) {
		faults = append(faults, sdk.Fault{Field: field, Message: message, Mend: mend})
	}
	if strings.HasPrefix(strings.ToLower(c.Table), "sqlite_") || strings.EqualFold(c.Table, positionsTable) {
		fault("table", fmt.Sprintf("%q is reserved", c.Table), "take another name")
	}
	if c.Mode == "upsert" && len(c.PrimaryKey) == 0 {
		fault("primary_key", "is not set", "mode upsert needs it: name the columns that identify a row, such as [id]")
	}
	if c.Mode == "insert" && len(c.PrimaryKey) > 0 {
		fault("primary_key", "has no meaning in mode insert", "remove it, or write mode: upsert")
	}
	for name, kindName := range c.Columns {
		if kindNamed(kindName) == kindUnknown {
			fault("columns."+name, fmt.Sprintf("%q is no kind", kindName), "write text, integer, real, number, boolean or json")
		}
	}
	for _, name := range c.PrimaryKey {
		if _, ok := c.Columns[name]; len(c.Columns) > 0 && !ok {
			fault("primary_key", fmt.Sprintf("%q is not among the columns", name), "add it to columns")
		}
	}
	slices.SortFunc(faults, func(a, b sdk.Fault) int { return strings.Compare(a.Field, b.Field) })
	return faults
}

// Plugin describes the sink for sdk.Serve.
func Plugin(version string) sdk.Plugin {
	return sdk.Plugin{
		Name: "sqlite", Version: version, Summary: "writes records into a table of a SQLite database",
		Sink: sdk.SinkOf(func(ctx context.Context, c Config, start sdk.SinkStart) (sdk.Sink, []sdk.Position, error) {
			return open(ctx, c, start)
		}),
	}
}
