package main

import (
	"errors"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/levada/levada/internal/datadir"
	"github.com/levada/levada/runtime/logclient"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitInput       = 2
	exitEnvironment = 3
)

// codedError is an error that knows its exit code.
type codedError struct {
	err  error
	code int
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func inputError(err error) error       { return &codedError{err, exitInput} }
func environmentError(err error) error { return &codedError{err, exitEnvironment} }

// reportedError was printed already.
type reportedError struct{ err error }

func (e *reportedError) Error() string { return e.err.Error() }
func (e *reportedError) Unwrap() error { return e.err }

// exitCode finds what an error means for who called us.
func exitCode(err error) int {
	var coded *codedError
	var op *net.OpError
	switch {
	case errors.As(err, &coded):
		return coded.code
	case strings.HasPrefix(err.Error(), "unknown command"), strings.HasPrefix(err.Error(), "unknown flag"), strings.HasPrefix(err.Error(), "required flag"):
		return exitInput
	case errors.Is(err, logclient.ErrUnreachable), errors.As(err, &op),
		errors.Is(err, datadir.ErrHeld), errors.Is(err, datadir.ErrFormat), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EADDRINUSE), errors.Is(err, fs.ErrPermission):
		return exitEnvironment
	}
	return exitFailed
}
