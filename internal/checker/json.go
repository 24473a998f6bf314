package checker

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// An operation is one line of JSON:
//
//	{"process":3,"type":"ok","f":"txn","value":[["poll",{"in-0":[[4,40]]}],["send","out-1",[7,70]],["send","out-1",71]],"start":1,"end":2}
//
// A sent record without an offset is written as its value alone.
type line struct {
	Process     int               `json:"process"`
	Type        Type              `json:"type"`
	F           Function          `json:"f"`
	Uncommitted bool              `json:"uncommitted,omitempty"`
	Value       []json.RawMessage `json:"value,omitempty"`
	Start       int64             `json:"start"`
	End         int64             `json:"end"`
	Error       string            `json:"error,omitempty"`
}

// Write writes a history as JSON lines.
func Write(w io.Writer, ops []Op) error {
	out := bufio.NewWriter(w)
	for _, o := range ops {
		l := line{Process: o.Process, Type: o.Type, F: o.F, Uncommitted: o.Uncommitted, Start: o.Start, End: o.End, Error: o.Error}
		for rest := o.Value; len(rest) > 0; {
			var one json.RawMessage
			one, rest = appendMicros(rest)
			l.Value = append(l.Value, one)
		}
		text, err := json.Marshal(l)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(text, '\n')); err != nil {
			return err
		}
	}
	return out.Flush()
}

// appendMicros encodes the first record if it was sent, or all that were polled
// up to the next sent one; it returns what is left.
func appendMicros(micros []Micro) (text []byte, rest []Micro) {
	m := micros[0]
	if !m.Poll {
		text = strconv.AppendQuote(append(text, `["send",`...), m.Key)
		text = append(text, ',')
		if m.Offset == NoOffset {
			text = strconv.AppendInt(text, m.Value, 10)
		} else {
			text = appendPlace(text, m)
		}
		return append(text, ']'), micros[1:]
	}
	byKey := map[string][]byte{}
	var keys []string
	for len(micros) > 0 && micros[0].Poll {
		m, micros = micros[0], micros[1:]
		if byKey[m.Key] == nil {
			keys = append(keys, m.Key)
		} else {
			byKey[m.Key] = append(byKey[m.Key], ',')
		}
		byKey[m.Key] = appendPlace(byKey[m.Key], m)
	}
	slices.Sort(keys)
	text = append(text, `["poll",{`...)
	for i, key := range keys {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(strconv.AppendQuote(text, key), `:[`...)
		text = append(append(text, byKey[key]...), ']')
	}
	return append(text, `}]`...), micros
}

func appendPlace(text []byte, m Micro) []byte {
	text = strconv.AppendInt(append(text, '['), m.Offset, 10)
	text = strconv.AppendInt(append(text, ','), m.Value, 10)
	return append(text, ']')
}

// Read reads a history of JSON lines.
func Read(r io.Reader) ([]Op, error) {
	var ops []Op
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if len(bytes.TrimSpace(text)) > 0 {
			o, err := parse(text)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			ops = append(ops, o)
		}
		if err == io.EOF {
			return ops, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func parse(text []byte) (Op, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Op{}, err
	}
	o := Op{Process: l.Process, Type: l.Type, F: l.F, Uncommitted: l.Uncommitted, Start: l.Start, End: l.End, Error: l.Error}
	if !slices.Contains([]Type{Invoke, OK, Fail, Info}, o.Type) {
		return Op{}, fmt.Errorf("type %q is none of invoke, ok, fail, info", o.Type)
	}
	if !slices.Contains([]Function{Send, Poll, Txn, Assign, Subscribe, Crash}, o.F) {
		return Op{}, fmt.Errorf("f %q is none of send, poll, txn, assign, subscribe, crash", o.F)
	}
	for _, text := range l.Value {
		micros, err := parseMicros(text)
		if err != nil {
			return Op{}, fmt.Errorf("%s: %w", text, err)
		}
		o.Value = append(o.Value, micros...)
	}
	return o, nil
}

func parseMicros(text []byte) ([]Micro, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, err
	}
	if len(parts) == 2 && string(parts[0]) == `"poll"` {
		return parsePoll(parts[1])
	}
	if len(parts) != 3 || string(parts[0]) != `"send"` {
		return nil, fmt.Errorf(`neither ["send",KEY,[OFFSET,VALUE]] nor ["poll",{KEY:[[OFFSET,VALUE]]}]`)
	}
	m := Micro{Offset: NoOffset}
	if err := json.Unmarshal(parts[1], &m.Key); err != nil {
		return nil, err
	}
	if json.Unmarshal(parts[2], &m.Value) == nil {
		return []Micro{m}, nil
	}
	var place [2]int64
	if err := json.Unmarshal(parts[2], &place); err != nil {
		return nil, err
	}
	m.Offset, m.Value = place[0], place[1]
	return []Micro{m}, nil
}

func parsePoll(text []byte) ([]Micro, error) {
	var polled map[string][][2]int64
	if err := json.Unmarshal(text, &polled); err != nil {
		return nil, err
	}
	keys := make([]string, 0, len(polled))
	for key := range polled {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var micros []Micro
	for _, key := range keys {
		for _, place := range polled[key] {
			micros = append(micros, Micro{Poll: true, Key: key, Offset: place[0], Value: place[1]})
		}
	}
	return micros, nil
}
