package statestore

import "github.com/cockroachdb/pebble/v2/vfs"

// OpenMemory opens an engine that lives in memory only, without goroutines: for
// tests.
func OpenMemory() (*Engine, error) {
	return Open(Config{Dir: "state", FS: vfs.NewMem(), Synchronous: true})
}
