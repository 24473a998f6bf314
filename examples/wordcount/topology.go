package main

import (
	"strings"
	"unicode"

	"github.com/levada/levada/dsl"
	"github.com/levada/levada/dsl/serde"
	"github.com/levada/levada/runtime/topology"
)

// The topics of the program, with their types.
var (
	Lines  = dsl.NewTopic("lines", serde.Bytes{}, serde.String{})
	Counts = dsl.NewTopic("word-counts", serde.String{}, serde.Int64{})
)

// Topology counts the words of all lines.
func Topology() (*topology.Topology, error) {
	b := dsl.NewBuilder()
	words := dsl.FlatMapValues(Lines.Stream(b), Words)
	byWord := dsl.GroupBy(words, func(_ []byte, word string) string { return word })
	byWord.Count("counts").Stream().To(Counts)
	return b.Build()
}

// Words are the runs of letters of a line, in lower case.
func Words(line string) []string {
	return strings.FieldsFunc(strings.ToLower(line), func(r rune) bool { return !unicode.IsLetter(r) })
}
