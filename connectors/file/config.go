package file

import (
	"context"
	"time"

	"github.com/levada/levada/connectors/sdk"
)

// Config are the settings of the source.
type Config struct {
	// Path names the file.
	Path string `config:"path" required:"true" doc:"the file to read"`
	// Format says what a line is.
	Format string `config:"format" default:"jsonl" choices:"jsonl,text" doc:"jsonl: a JSON value on each line; text: any text"`
	// Key is the JSON field that becomes the record's key; dots step into
	// objects. Empty: records have no key.
	Key string `config:"key" doc:"the JSON field that becomes the key, such as customer.id"`
	// Follow waits for the file to appear and to grow, and for its successor
	// when it is rotated. Otherwise the source ends at the end of the file.
	Follow bool `config:"follow" default:"true" doc:"wait for more at the end of the file"`
	// MaxLine bounds a line, its newline not counted.
	MaxLine sdk.Size `config:"max_line" default:"512KiB" doc:"a longer line is an error record"`
	// PollInterval is how often a file at its end is looked at.
	PollInterval time.Duration `config:"poll_interval" default:"100ms" doc:"how often to look for more"`
	// OnTruncate says what to do when bytes that were read are no longer there.
	OnTruncate string `config:"on_truncate" default:"restart" choices:"restart,fail" doc:"restart: read what is there now from its start; fail: stop and say so"`
}

// Limits of the settings.
const (
	minLine = 1 << 10
	maxLine = 8 << 20
)

// Validate checks what tags cannot say.
func (c Config) Validate() []sdk.Fault {
	var faults []sdk.Fault
	if c.MaxLine < minLine || c.MaxLine > maxLine {
		faults = append(faults, sdk.Fault{Field: "max_line", Message: "is out of range", Mend: "write 1KiB to 8MiB"})
	}
	if c.PollInterval < time.Millisecond || c.PollInterval > time.Minute {
		faults = append(faults, sdk.Fault{Field: "poll_interval", Message: "is out of range", Mend: "write 1ms to 1m"})
	}
	if c.Key != "" && c.Format != "jsonl" {
		faults = append(faults, sdk.Fault{Field: "key", Message: "needs format jsonl", Mend: "remove it, or write format: jsonl"})
	}
	return faults
}

// Plugin describes the source for sdk.Serve.
func Plugin(version string) sdk.Plugin {
	return sdk.Plugin{
		Name: "file", Version: version, Summary: "reads the lines of a file that may still grow",
		Source: sdk.SourceOf(func(_ context.Context, c Config, start sdk.SourceStart) (sdk.Source, error) {
			return open(c, start)
		}),
	}
}
