package sqlite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// kind says what a column takes. What SQLite would convert silently (a text
// "007" in a numeric column becomes 7) is refused instead.
type kind int8

const (
	kindUnknown kind = iota
	kindText         // anything, as text
	kindInteger      // whole numbers
	kindReal         // numbers, as floating point
	kindNumber       // numbers, whole ones as integers
	kindBoolean      // 1 and 0
	kindJSON         // anything, as JSON text
	kindAny          // anything, as SQLite keeps it: a column somebody else declared
)

func kindNamed(name string) kind {
	switch name {
	case "text":
		return kindText
	case "integer":
		return kindInteger
	case "real":
		return kindReal
	case "number":
		return kindNumber
	case "boolean":
		return kindBoolean
	case "json":
		return kindJSON
	}
	return kindUnknown
}

// declaration is the column type in CREATE TABLE.
func (k kind) declaration() string {
	switch k {
	case kindInteger:
		return "INTEGER"
	case kindReal:
		return "REAL"
	case kindNumber:
		return "NUMERIC"
	case kindBoolean:
		return "BOOLEAN"
	case kindJSON:
		return "JSON TEXT"
	}
	return "TEXT"
}

// kindDeclared reads the kind of an existing column from its declared type.
func kindDeclared(declared string) kind {
	d := strings.ToUpper(declared)
	contains := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(d, p) {
				return true
			}
		}
		return false
	}
	switch {
	case contains("JSON"):
		return kindJSON
	case contains("INT"):
		return kindInteger
	case contains("CHAR", "CLOB", "TEXT"):
		return kindText
	case contains("REAL", "FLOA", "DOUB"):
		return kindReal
	case contains("BOOL"):
		return kindBoolean
	case d == "NUMERIC":
		return kindNumber
	}
	return kindAny
}

// kindOf infers a column's kind from its first value.
func kindOf(raw []byte) kind {
	switch raw[0] {
	case '"':
		return kindText
	case 't', 'f':
		return kindBoolean
	case '{', '[':
		return kindJSON
	}
	return kindNumber
}

// convert makes the value of a column from a JSON value that is valid. It
// fails for a value that the kind cannot hold without changing it.
func (k kind) convert(raw []byte) (any, error) {
	if raw[0] == 'n' {
		return nil, nil
	}
	is := kindOf(raw)
	switch k {
	case kindText:
		return asText(raw, is)
	case kindJSON:
		return compact(raw), nil
	case kindBoolean:
		if is == kindBoolean {
			return raw[0] == 't', nil
		}
	case kindInteger:
		if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return n, nil
		}
	case kindReal:
		if is == kindNumber {
			return asFloat(raw)
		}
	case kindNumber:
		if is == kindNumber {
			return asNumber(raw)
		}
	case kindAny:
		switch is {
		case kindNumber:
			return asNumber(raw)
		case kindBoolean:
			return raw[0] == 't', nil
		}
		return asText(raw, is)
	}
	return nil, fmt.Errorf("%.80s does not fit a column of kind %s", raw, strings.ToLower(k.declaration()))
}

func asText(raw []byte, is kind) (any, error) {
	if is != kindText {
		return compact(raw), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return s, err
}

func compact(raw []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

func asFloat(raw []byte) (any, error) {
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return nil, fmt.Errorf("%.80s is out of range for a column of kind real", raw)
	}
	return f, nil
}

func asNumber(raw []byte) (any, error) {
	if bytes.ContainsAny(raw, ".eE") {
		return asFloat(raw)
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%.80s is out of range for 64 bits; make it a column of kind text", raw)
	}
	return n, nil
}

// keyAsJSON makes a JSON value of a record's key, which may be plain text, for
// a column of kind k.
func keyAsJSON(key []byte, k kind) []byte {
	if k != kindText && k != kindUnknown && k != kindAny && json.Valid(key) {
		return key
	}
	quoted, _ := json.Marshal(string(key)) // a string cannot fail
	return quoted
}
