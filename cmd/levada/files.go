package main

import (
	"log/slog"
	"syscall"
)

// connectionsFor is how many connections the limit of open files leaves room for: half
// of it, for the segments of the log and the database are files too, and one that
// cannot be opened is worse than a client that has to come again.
func connectionsFor(files uint64) int { return int(min(files/2, 1<<30)) }

// boundConnections makes a number of connections fit the limit of open files, which
// the Go runtime has raised as far as it may.
func boundConnections(want int, logger *slog.Logger) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		logger.Warn("the limit of open files is not known", "error", err)
		return want
	}
	room := max(connectionsFor(uint64(files.Cur)), 1) // signed on some systems
	if want <= room {
		return want
	}
	logger.Warn("fewer connections than --max-connections are taken: raise the limit of open files (ulimit -n, LimitNOFILE)",
		"open_files", files.Cur, "max_connections", want, "taken", room)
	return room
}
