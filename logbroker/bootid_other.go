//go:build !linux

package logbroker

import (
	"fmt"
	"os"
	"time"
)

// bootID is another at each start: where nobody tells whether the page cache was
// lost, every end that was not clean is taken for a power loss.
func bootID(string) string { return fmt.Sprintf("start/%d/%d", os.Getpid(), time.Now().UnixNano()) }
