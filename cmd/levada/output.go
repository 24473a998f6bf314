package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

// table is what a person sees of a result.
type table struct {
	header []string
	rows   [][]string
	empty  string // printed instead if there are no rows
}

// print writes a result as one JSON object or as a table.
func (a *app) print(w io.Writer, value any, t table) error {
	if a.output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(value)
	}
	if len(t.rows) == 0 && t.empty != "" {
		_, err := fmt.Fprintln(w, t.empty)
		return err
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(t.header, "\t"))
	for _, row := range t.rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// printableLines is printable for a text of several lines.
func printableLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// printable keeps control characters of names and records off the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}

// logger writes to standard error: text on a terminal, JSON otherwise.
func (a *app) logger(quiet bool) *slog.Logger {
	logger, _ := a.adjustableLogger(quiet)
	return logger
}

// adjustableLogger is logger with the least level that it writes.
func (a *app) adjustableLogger(quiet bool) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	if quiet {
		level.Set(slog.LevelWarn)
	}
	if a.verbose {
		level.Set(slog.LevelDebug)
	}
	opts := &slog.HandlerOptions{Level: level}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		return slog.New(slog.NewTextHandler(os.Stderr, opts)), level
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, opts)), level
}
