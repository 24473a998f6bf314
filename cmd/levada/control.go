package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/levada/levada/logbroker"
)

// controlFile is the socket in a data directory through which its server is told
// what no client of the Kafka protocol can ask for. Whoever may write to the
// directory may use it.
const controlFile = "control"

// maxSocketPath is what fits into the address of a socket (unix(7)).
const maxSocketPath = 107

// controlTimeout bounds how long a request may take to come; a backup takes as long
// as it takes.
const controlTimeout = 10 * time.Second

type controlRequest struct {
	Backup string `json:"backup"` // an absolute path
}

type controlAnswer struct {
	Error  string            `json:"error,omitempty"`
	Backup *logbroker.Backup `json:"backup,omitempty"`
}

// serveControl listens in the data directory, whose lock is held, until the
// returned function is called.
func serveControl(dir string, broker *logbroker.Broker, log *slog.Logger) (stop func(), err error) {
	path := filepath.Join(dir, controlFile)
	if len(path) > maxSocketPath {
		log.Warn("the path of the data directory is too long for a socket; levada backup works only while the server is stopped", "path", path)
		return func() {}, nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // of a server that was killed
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return // it was closed
			}
			answerControl(c, broker) // one after another: two backups at once gain nothing
		}
	}()
	return func() {
		_ = ln.Close() // nobody listens any more, however it ends
		<-done
	}, nil
}

func answerControl(c net.Conn, broker *logbroker.Broker) {
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(controlTimeout))
	var req controlRequest
	var answer controlAnswer
	line, err := bufio.NewReaderSize(c, 8<<10).ReadSlice('\n')
	if err == nil {
		err = json.Unmarshal(line, &req)
	}
	if err == nil && !filepath.IsAbs(req.Backup) {
		err = fmt.Errorf("backup %q is no absolute path", req.Backup)
	}
	if err == nil {
		var b logbroker.Backup
		if b, err = broker.Backup(req.Backup); err == nil {
			answer.Backup = &b
		}
	}
	if err != nil {
		answer.Error = err.Error()
	}
	_ = json.NewEncoder(c).Encode(answer) // who does not wait for it does not want it
}

// askControl sends a request to the server that runs over a data directory. ok is
// false if none does. A signal ends the wait; the server goes on with what it does.
func askControl(ctx context.Context, dir string, req controlRequest) (answer controlAnswer, ok bool, err error) {
	c, err := net.DialTimeout("unix", filepath.Join(dir, controlFile), controlTimeout)
	if err != nil {
		return answer, false, nil
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })() // who waits is told why
	if err := json.NewEncoder(c).Encode(req); err != nil {
		return answer, true, err
	}
	if err := json.NewDecoder(c).Decode(&answer); ctx.Err() != nil {
		return answer, true, errInterrupted
	} else if err != nil {
		return answer, true, fmt.Errorf("the server of %s ended before its answer: %w", dir, err)
	}
	if answer.Error != "" {
		return answer, true, errors.New(answer.Error)
	}
	return answer, true, nil
}
