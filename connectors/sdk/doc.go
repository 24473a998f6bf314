// Package sdk is what the author of a connector writes against. A connector
// is a program of its own: it describes itself with a Plugin and calls Serve;
// the host starts it, one process for each connector that runs, and kills it
// when it hangs.
//
//	type Config struct {
//	    URL string `config:"url" required:"true" doc:"where to read"`
//	}
//
//	func main() {
//	    sdk.Serve(sdk.Plugin{Name: "feed", Version: "1.0", Source: sdk.SourceOf(open)})
//	}
//
//	func open(ctx context.Context, c Config, start sdk.SourceStart) (sdk.Source, error) { … }
//
// A Source hands out batches with a position; records and position become
// durable in one transaction, and a restart continues at the last of them, so
// that a source whose positions are exact is read exactly once. A Sink stores
// records and positions in one transaction of its target, and the host goes on
// where the target says.
//
// The package leaves out what the host does: transactions of the log, dead
// letters, restarts, back-off.
package sdk
