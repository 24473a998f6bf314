package meta

import (
	"fmt"
	"log/slog"
)

// logger passes Pebble's messages on. Pebble calls Fatalf when a write of its
// log or manifest failed, and would then go on as if it had not: so the store
// remembers the failure and refuses every commit from then on.
type logger struct {
	store *Store
	log   *slog.Logger
}

// Infof drops Pebble's reports of flushes and compactions below debug level.
func (l *logger) Infof(format string, args ...any) {
	l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
}

// Errorf passes on an error that Pebble handles itself.
func (l *logger) Errorf(format string, args ...any) {
	l.log.Warn("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf records that the database can no longer be written. While it is being
// opened that ends the Open.
func (l *logger) Fatalf(format string, args ...any) {
	l.store.fail(fmt.Errorf("meta: %s", fmt.Sprintf(format, args...)))
}
