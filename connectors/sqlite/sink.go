package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/levada/levada/connectors/sdk"
)

// lockWait is how long SQLite itself waits for a lock, before the sink looks
// whether it was told to stop.
const lockWait = 500 * time.Millisecond

// sink writes deliveries, each in one transaction.
type sink struct {
	config    Config
	connector string
	epoch     int64
	db        *sql.DB
	schema    *schema
}

func open(ctx context.Context, c Config, start sdk.SinkStart) (sdk.Sink, []sdk.Position, error) {
	dir := filepath.Dir(c.Path)
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return nil, nil, sdk.Permanent(fmt.Errorf("%s: the directory %s does not exist", c.Path, dir), "create it, or correct path")
	}
	db, err := sql.Open("sqlite", dsn(c))
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	s := &sink{config: c, connector: start.Connector, epoch: start.Epoch, db: db, schema: &schema{config: c}}
	var positions []sdk.Position
	err = s.transact(ctx, func(tx *sql.Tx) (err error) {
		if positions, err = s.claim(ctx, tx, start.Partitions); err != nil {
			return err
		}
		return s.prepareTable(ctx, tx)
	})
	if err != nil {
		_ = db.Close()
		return nil, nil, err
	}
	return s, positions, nil
}

func dsn(c Config) string {
	q := url.Values{"_txlock": {"immediate"}}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()))
	if c.JournalMode != "keep" {
		q.Add("_pragma", "journal_mode("+c.JournalMode+")")
	}
	q.Add("_pragma", "synchronous(full)") // committed means synced, also with a write-ahead log
	return "file:" + (&url.URL{Path: c.Path}).EscapedPath() + "?" + q.Encode()
}

// prepareTable makes the table if it can already, and tries the statement, so
// that a table that does not suit is found at the start.
func (s *sink) prepareTable(ctx context.Context, tx *sql.Tx) error {
	if err := s.schema.load(ctx, tx); err != nil {
		return err
	}
	if !s.schema.exists && !s.config.Create {
		return sdk.Permanent(fmt.Errorf("%s has no table %q", s.config.Path, s.config.Table), "create it, or write create: true")
	}
	if len(s.config.Columns) > 0 {
		if err := s.ensureColumns(ctx, tx, s.config.configured()); err != nil {
			return err
		}
	}
	if !s.schema.exists {
		return nil
	}
	for _, key := range s.config.PrimaryKey {
		if s.schema.find(key) < 0 {
			return sdk.Permanent(fmt.Errorf("table %q has no column %q, which is in primary_key", s.config.Table, key), "correct primary_key, or take another table")
		}
	}
	stmt, err := tx.PrepareContext(ctx, s.schema.insertStatement(s.schema.writable()))
	if err != nil {
		return sdk.Permanent(fmt.Errorf("table %q: %w", s.config.Table, err), "mode upsert needs a table whose primary key, or a unique index, is exactly primary_key")
	}
	return stmt.Close()
}

// ensureColumns makes the table and the columns it lacks.
func (s *sink) ensureColumns(ctx context.Context, tx *sql.Tx, columns []column) error {
	if !s.schema.exists {
		return s.schema.create(ctx, tx, columns)
	}
	for _, c := range columns {
		if s.schema.find(c.name) >= 0 {
			continue
		}
		if !s.config.Create {
			return sdk.Permanent(fmt.Errorf("table %q has no column %q", s.config.Table, c.name), "add it, or write create: true")
		}
		if err := s.schema.extend(ctx, tx, c); err != nil {
			return err
		}
	}
	return nil
}

// Write stores the records and positions of d in one transaction.
func (s *sink) Write(ctx context.Context, d *sdk.Delivery) ([]sdk.Rejection, error) {
	var rejections []sdk.Rejection
	err := s.transact(ctx, func(tx *sql.Tx) error {
		if err := s.advance(ctx, tx, d.Positions); err != nil {
			return err
		}
		w := &writer{ctx: ctx, tx: tx, schema: s.schema, sink: s}
		for rec := range d.Records() {
			if err := w.write(rec); err != nil {
				return err
			}
		}
		rejections = w.rejections
		if err := d.Err(); err != nil {
			return err
		}
		if len(rejections) > 0 {
			return errRejected
		}
		return nil
	})
	if errors.Is(err, errRejected) {
		return rejections, nil
	}
	return nil, err
}

// errRejected rolls a transaction back because of rejections.
var errRejected = errors.New("records were rejected")

// transact runs do in a transaction, again while another process holds the
// lock. After a rollback the schema is read anew.
func (s *sink) transact(ctx context.Context, do func(*sql.Tx) error) error {
	deadline := time.Now().Add(s.config.BusyTimeout)
	for {
		err := s.attempt(ctx, do)
		if !isBusy(err) || ctx.Err() != nil {
			return s.explain(err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: locked by another process for %v: %w", s.config.Path, s.config.BusyTimeout, err)
		}
	}
}

func (s *sink) attempt(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err = do(tx); err == nil {
		err = tx.Commit()
	}
	if err != nil {
		_ = tx.Rollback() // nothing to do if it is over already
		if reloadErr := s.reload(ctx); reloadErr != nil && ctx.Err() == nil {
			return errors.Join(err, reloadErr)
		}
	}
	return err
}

func (s *sink) reload(ctx context.Context) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return s.schema.load(ctx, tx)
}

// Close closes the database.
func (s *sink) Close() error { return s.db.Close() }

func resultCode(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff // the rest is the extended code
	}
	return 0
}

func isBusy(err error) bool {
	code := resultCode(err)
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

// isRefusal tells whether SQLite refused a row for what it is.
func isRefusal(err error) bool {
	switch resultCode(err) {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG:
		return true
	}
	return false
}

// explain names the file in an error, and marks what no retry mends.
func (s *sink) explain(err error) error {
	if err == nil || errors.Is(err, errRejected) || errors.Is(err, sdk.ErrFenced) {
		return err
	}
	code := resultCode(err)
	if code != 0 {
		err = fmt.Errorf("%s: %w", s.config.Path, err)
	}
	switch code {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return sdk.Permanent(err, "the file is damaged or no SQLite database: restore it, or take another path")
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return sdk.Permanent(err, "give this user the right to write the file and its directory")
	}
	return err
}
