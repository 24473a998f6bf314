package file_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/levada/levada/connectors/connectortest"
	"github.com/levada/levada/connectors/file"
	"github.com/levada/levada/connectors/proto"
)

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	for _, format := range []string{"jsonl", "text"} {
		t.Run(format, func(t *testing.T) {
			connectortest.TestSource(t, connectortest.Source{
				Client: func(t testing.TB) proto.ConnectorClient { return connectortest.InProcess(t, file.Plugin("1")) },
				Origin: func(t testing.TB) connectortest.Origin {
					path := filepath.Join(t.TempDir(), "in")
					return connectortest.Origin{
						Config: fmt.Sprintf(`{"path": %q, "format": %q, "poll_interval": "2ms"}`, path, format),
						Add: func(i int) string {
							line := fmt.Sprintf(`{"id": %d}`, i)
							appendTo(t, path, line+"\n")
							return line
						},
					}
				},
				BadConfig: `{"format": "csv", "follow": "perhaps", "colour": 1}`,
			})
		})
	}
}
