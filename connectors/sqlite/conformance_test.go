package sqlite_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/levada/levada/connectors/connectortest"
	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/connectors/sqlite"
)

// rows reads a table with a connection of its own.
func rows(t testing.TB, path, query string) []string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRow("SELECT count(*) FROM sqlite_master WHERE name = 'rows'").Scan(&n); err != nil || n == 0 {
		return nil
	}
	r, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out []string
	for r.Next() {
		var s string
		if err := r.Scan(&s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestConformance(t *testing.T) {
	for _, mode := range []string{`"mode": "insert"`, `"mode": "upsert", "primary_key": ["id"]`} {
		t.Run(mode, func(t *testing.T) {
			connectortest.TestSink(t, connectortest.Sink{
				Client: func(t testing.TB) proto.ConnectorClient { return connectortest.InProcess(t, sqlite.Plugin("1")) },
				Target: func(t testing.TB) connectortest.Target {
					path := filepath.Join(t.TempDir(), "out.db")
					return connectortest.Target{
						Config: fmt.Sprintf(`{"path": %q, "table": "rows", %s}`, path, mode),
						Record: func(i int) ([]byte, []byte) {
							return fmt.Appendf(nil, "k%d", i), fmt.Appendf(nil, `{"id": %d, "text": "t%d"}`, i, i)
						},
						Row:    func(i int) string { return fmt.Sprintf("%d t%d", i, i) },
						Poison: []byte(`no json`),
						Rows:   func(t testing.TB) []string { return rows(t, path, `SELECT id || ' ' || text FROM rows`) },
					}
				},
				BadConfig: `{"mode": "merge", "table": "_levada_positions"}`,
			})
		})
	}
}
