package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// lineFormat reads a record from a line: fields with fixed text between them.
type lineFormat struct {
	before string // text before the first field
	fields []lineField
}

type lineField struct {
	verb  byte
	after string // text up to the next field; empty for the last takes the rest
}

// parseLineFormat reads a format of topic produce: %k key, %v value, %t topic, %p
// partition, %d timestamp in ms, %h headers as NAME=VALUE,…; the line ends a record.
func parseLineFormat(format string) (*lineFormat, error) {
	format = strings.TrimSuffix(unescaped(format), "\n")
	f := &lineFormat{}
	text := &f.before
	seen := map[byte]bool{}
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			*text += string(format[i])
			continue
		}
		if i++; i >= len(format) || !strings.ContainsRune("kvtpdh%", rune(format[i])) {
			return nil, inputError(fmt.Errorf("--format %q: after %% use one of k v t p d h %%", format))
		}
		verb := format[i]
		switch {
		case verb == '%':
			*text += "%"
			continue
		case seen[verb]:
			return nil, inputError(fmt.Errorf("--format %q has %%%c twice", format, verb))
		case len(f.fields) > 0 && *text == "":
			return nil, inputError(fmt.Errorf("--format %q: write text between two fields, so that it is clear where one ends", format))
		}
		seen[verb] = true
		f.fields = append(f.fields, lineField{verb: verb})
		text = &f.fields[len(f.fields)-1].after
	}
	if len(f.fields) == 0 {
		return nil, inputError(fmt.Errorf("--format %q has no field", format))
	}
	return f, nil
}

func unescaped(format string) string {
	return strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(format)
}

// has tells whether the format has a field.
func (f *lineFormat) has(verb byte) bool {
	return f != nil && slices.ContainsFunc(f.fields, func(l lineField) bool { return l.verb == verb })
}

// read fills a record from a line, which it keeps; without %v it has no value.
func (f *lineFormat) read(line []byte, r *kgo.Record) error {
	r.Value = nil
	rest, ok := bytes.CutPrefix(line, []byte(f.before))
	if !ok {
		return inputError(fmt.Errorf("line %q does not begin with %q", abridged(line), f.before))
	}
	for i, field := range f.fields {
		value := rest
		switch last := i == len(f.fields)-1; {
		case last && field.after == "":
			rest = nil
		case last:
			if value, ok = bytes.CutSuffix(rest, []byte(field.after)); !ok {
				return inputError(fmt.Errorf("line %q does not end with %q", abridged(line), field.after))
			}
		default:
			if value, rest, ok = bytes.Cut(rest, []byte(field.after)); !ok {
				return inputError(fmt.Errorf("line %q has no %q after %%%c", abridged(line), field.after, field.verb))
			}
		}
		if err := field.set(r, value); err != nil {
			return inputError(fmt.Errorf("line %q: %w", abridged(line), err))
		}
	}
	return nil
}

func (f lineField) set(r *kgo.Record, value []byte) error {
	switch f.verb {
	case 'k':
		r.Key = value
	case 'v':
		r.Value = value
	case 't':
		r.Topic = string(value)
	case 'p':
		n, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("partition %q is no number", value)
		}
		r.Partition = int32(n)
	case 'd':
		ms, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return fmt.Errorf("timestamp %q is no number of milliseconds", value)
		}
		r.Timestamp = time.UnixMilli(ms)
	case 'h':
		if len(value) == 0 {
			return nil
		}
		headers, err := parseHeaders(strings.Split(string(value), ","))
		if err != nil {
			return err
		}
		r.Headers = append(r.Headers[:len(r.Headers):len(r.Headers)], headers...)
	}
	return nil
}
