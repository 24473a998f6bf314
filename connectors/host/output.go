package host

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of what a plugin prints.
const (
	maxLineBytes      = 4 << 10
	lastLines         = 12  // kept for error messages
	maxLinesPerSecond = 100 // more are counted, not logged
)

// output takes what a plugin prints, logs it line by line and keeps the last
// lines. Several writers share one.
type output struct {
	logger *slog.Logger

	mu      sync.Mutex // guards what follows
	last    []string
	panic   string // why a Go program ended, which its stack pushes out of last
	second  time.Time
	logged  int
	dropped int
}

// writer returns a writer for one stream of the plugin.
func (o *output) writer() *lineWriter { return &lineWriter{output: o} }

// lineWriter cuts a stream into lines. It belongs to one goroutine.
type lineWriter struct {
	output *output
	line   []byte
	cut    bool // the line is longer than maxLineBytes; the rest is dropped
}

func (w *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		room := maxLineBytes - len(w.line)
		w.cut = w.cut || len(part) > room
		w.line = append(w.line, part[:min(len(part), room)]...)
		if end < 0 {
			break
		}
		w.output.add(string(bytes.TrimRight(w.line, "\r")), w.cut)
		w.line, w.cut = w.line[:0], false
		p = p[end+1:]
	}
	return n, nil
}

func (o *output) add(line string, cut bool) {
	if line == "" {
		return
	}
	if cut {
		line += " …"
	}
	level, message, attrs := parseLine(line)
	o.mu.Lock()
	if len(o.last) == lastLines {
		o.last = append(o.last[:0], o.last[1:]...)
	}
	o.last = append(o.last, message)
	if strings.HasPrefix(message, "panic: ") || strings.HasPrefix(message, "fatal error: ") {
		o.panic = message
	}
	now := time.Now()
	dropped := 0
	if now.Sub(o.second) > time.Second {
		dropped = o.dropped
		o.second, o.logged, o.dropped = now, 0, 0
	}
	o.logged++
	tooMany := o.logged > maxLinesPerSecond
	if tooMany {
		o.dropped++
	}
	o.mu.Unlock()
	if dropped > 0 {
		o.logger.Warn("the plugin printed more lines than are logged", "dropped", dropped)
	}
	if !tooMany {
		o.logger.LogAttrs(context.Background(), level, message, attrs...)
	}
}

// tail returns the last lines, after that of a panic.
func (o *output) tail() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	tail := slices.Clone(o.last)
	if o.panic != "" && !slices.Contains(tail, o.panic) {
		tail = slices.Insert(tail, 0, o.panic, "…")
	}
	return tail
}

// parseLine reads a line of sdk.Logger or of go-plugin's own logger; another
// is taken as it is.
func parseLine(line string) (slog.Level, string, []slog.Attr) {
	level, attrs := slog.LevelInfo, []slog.Attr{slog.Bool("plugin", true)}
	fields := map[string]any{}
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &fields) != nil {
		return level, line, attrs
	}
	message, ok := pick(fields, "msg", "@message")
	if !ok {
		return level, line, attrs
	}
	if text, ok := pick(fields, "level", "@level"); ok {
		_ = level.UnmarshalText([]byte(text)) // an unknown one stays info
	}
	for _, known := range []string{"time", "@timestamp", "@module"} {
		delete(fields, known)
	}
	for name, value := range fields {
		attrs = append(attrs, slog.Any(name, value))
	}
	return level, message, attrs
}

func pick(fields map[string]any, names ...string) (string, bool) {
	for _, n := range names {
		if v, ok := fields[n]; ok {
			delete(fields, n)
			return fmt.Sprint(v), true
		}
	}
	return "", false
}
