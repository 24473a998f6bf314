package streamtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/levada/levada/runtime/topology"
)

// RunScript runs the commands of a file and compares what comes out; with the
// flag -rewrite the test writes what it got into the file. Commands:
//
//	produce topic=lines [key=k] [ts=5] [partition=1] "to be or not to be"
//	commit
//	store name=counts
//	dropped
//	describe
//
// produce takes several records too, one on each line below it, with the same
// words but the topic. The answer to produce and commit is one line for each
// topic that was written: `word-counts: to=1 be=1`; with the word `times` each
// record has its timestamp: `to=1@5`. A record without ts has the timestamp of
// the one before it. An unquoted null is a null. An error is printed.
//
// topics are those that the script reads or writes. setup makes the topology
// and is called for each file.
func RunScript(t *testing.T, path string, setup func() (*topology.Topology, error), topics ...TextTopic) {
	t.Helper()
	top, err := setup()
	if err != nil {
		t.Fatal(err)
	}
	s := &script{d: New(t, top), topics: map[string]TextTopic{}}
	for _, topic := range topics {
		s.topics[topic.Name()] = topic
	}
	datadriven.RunTest(t, path, s.run)
}

type script struct {
	d      *Driver
	topics map[string]TextTopic
}

func (s *script) run(t *testing.T, td *datadriven.TestData) string {
	t.Helper()
	var out string
	var err error
	switch td.Cmd {
	case "produce":
		if err = s.produce(td); err == nil {
			out, err = s.written(td.HasArg("times"))
		}
	case "commit":
		if err = s.d.Commit(); err == nil {
			out, err = s.written(td.HasArg("times"))
		}
	case "store":
		var name string
		td.ScanArgs(t, "name", &name)
		out, err = s.d.StoreText(name)
	case "dropped":
		n := s.d.Dropped()
		out = fmt.Sprintf("null keys: %d, null values: %d, negative timestamps: %d", n.NullKey, n.NullValue, n.NegativeTimestamp)
	case "describe":
		out = s.d.cfg.Topology.Describe()
	default:
		t.Fatalf("%s: unknown command %q", td.Pos, td.Cmd)
	}
	if err != nil {
		out += "error: " + err.Error()
	}
	if out == "" {
		return ""
	}
	return strings.TrimRight(out, "\n") + "\n"
}

// produce writes the record of the command line, or those below it.
func (s *script) produce(td *datadriven.TestData) error {
	var words []string
	for _, a := range td.CmdArgs {
		if a.Key != "times" {
			words = append(words, a.String())
		}
	}
	head := strings.Join(words, " ")
	if td.Input == "" {
		return s.record(head)
	}
	for line := range strings.Lines(td.Input) {
		if err := s.record(head + " " + strings.TrimSpace(line)); err != nil {
			return err
		}
	}
	return nil
}

// record writes the record of a line.
func (s *script) record(line string) error {
	m := Message{Timestamp: s.d.now, Partition: -1}
	var topic, value string
	var key *string
	null := false
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		name, text, quoted, rest, err := word(line)
		if err != nil {
			return err
		}
		line = rest
		switch name {
		case "topic":
			topic = text
		case "key":
			key = &text
			if text == "null" && !quoted {
				key = nil
			}
		case "ts":
			m.Timestamp, err = strconv.ParseInt(text, 10, 64)
		case "partition":
			var p int64
			p, err = strconv.ParseInt(text, 10, 32)
			m.Partition = int32(p)
		case "":
			value, null = text, text == "null" && !quoted
		default:
			return fmt.Errorf("unknown word %q", name)
		}
		if err != nil {
			return err
		}
	}
	return s.send(topic, key, value, null, m)
}

func (s *script) send(topic string, key *string, value string, null bool, m Message) error {
	t := s.topics[topic]
	if t == nil {
		return fmt.Errorf("topic %q is not given to RunScript", topic)
	}
	var err error
	if key != nil {
		if m.Key, err = t.ParseKey(*key); err != nil {
			return fmt.Errorf("key %q: %w", *key, err)
		}
	}
	if !null {
		if m.Value, err = t.ParseValue(value); err != nil {
			return fmt.Errorf("value %q: %w", value, err)
		}
	}
	if m.Partition >= 0 {
		return s.d.ProduceTo(topic, m)
	}
	return s.d.Produce(topic, m)
}

// word cuts the first word off a line: `name=text` or `text`, where text may
// be quoted as in Go.
func word(line string) (name, text string, quoted bool, rest string, err error) {
	if i := strings.IndexAny(line, "= \"{"); i > 0 && line[i] == '=' {
		name, line = line[:i], line[i+1:]
	}
	if strings.HasPrefix(line, `"`) {
		q, err := strconv.QuotedPrefix(line)
		if err != nil {
			return "", "", false, "", fmt.Errorf("unfinished text: %s", line)
		}
		text, err = strconv.Unquote(q)
		return name, text, true, line[len(q):], err
	}
	if name == "" && strings.HasPrefix(line, "{") {
		return "", line, true, "", nil // JSON goes to the end of the line
	}
	text, rest, _ = strings.Cut(line, " ")
	return name, text, false, rest, nil
}

// written lists what was written to the topics of the script.
func (s *script) written(times bool) (string, error) {
	var names []string
	for name := range s.topics {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		ms := s.d.Take(name)
		if len(ms) == 0 {
			continue
		}
		text, err := formatMessages(s.topics[name], ms, times)
		if err != nil {
			return b.String(), err
		}
		fmt.Fprintf(&b, "%s: %s\n", name, text)
	}
	return b.String(), nil
}
