//go:build !linux

package powerloss

import (
	"errors"
	"runtime"
)

var errSystem = errors.New("a file system can be cut off from its disk on Linux, not on " + runtime.GOOS)

// Available tells why no power loss can be made here.
func Available() error { return errSystem }

// Disk is a file system whose power can be cut.
type Disk struct{}

// Mount fails.
func Mount(string, int64) (*Disk, error) { return nil, errSystem }

// Path is empty.
func (d *Disk) Path() string { return "" }

// Cut fails.
func (d *Disk) Cut() error { return errSystem }

// Remount fails.
func (d *Disk) Remount() error { return errSystem }

// Close does nothing.
func (d *Disk) Close() error { return nil }
