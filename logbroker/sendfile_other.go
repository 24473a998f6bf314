//go:build !linux

package logbroker

import (
	"errors"
	"net"

	"github.com/levada/levada/logbroker/commitlog"
)

func cork(net.Conn, int) {}

func sendFile(net.Conn, *commitlog.Section, int) error { return errors.ErrUnsupported }
