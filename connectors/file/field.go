package file

import (
	"bytes"
	"encoding/json"
	"strings"
)

// field finds the value at a dotted path in a JSON value that is valid. Of two
// members with one name the last counts, as it does for encoding/json.
// A name that contains a dot cannot be reached.
func field(value []byte, path string) (found []byte, ok bool) {
	name, rest, deeper := strings.Cut(path, ".")
	p := skipSpace(value)
	if len(p) == 0 || p[0] != '{' {
		return nil, false
	}
	for p = skipSpace(p[1:]); len(p) > 0 && p[0] != '}'; p = skipSpace(p) {
		if p[0] == ',' {
			p = skipSpace(p[1:])
		}
		nameLen := valueLen(p)
		rawName := p[:nameLen]
		p = skipSpace(p[nameLen:])
		p = skipSpace(p[1:]) // the colon
		n := valueLen(p)
		if sameName(rawName, name) {
			found, ok = p[:n], true
		}
		p = p[n:]
	}
	if ok && deeper {
		return field(found, rest)
	}
	return found, ok
}

// sameName compares a quoted JSON string with a name.
func sameName(raw []byte, name string) bool {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1:len(raw)-1]) == name
	}
	var s string
	return json.Unmarshal(raw, &s) == nil && s == name
}

func skipSpace(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t' || p[0] == '\n' || p[0] == '\r') {
		p = p[1:]
	}
	return p
}

// valueLen is the length of the valid JSON value at the start of p.
func valueLen(p []byte) int {
	depth := 0
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '"':
			i += stringLen(p[i:]) - 1
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i // the end of what a number or word stands in
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
		}
	}
	return len(p)
}

func stringLen(p []byte) int {
	for i := 1; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(p)
}

// keyOf makes a record key of a JSON value: the text of a string, else the
// value as it is written. A null is no key.
func keyOf(raw []byte) (key []byte, ok bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, false
	}
	if raw[0] != '"' {
		return raw, true
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1], true
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return nil, false
	}
	return []byte(s), true
}
