package checker

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// What can go wrong with a pipeline that is to process each record once.
const (
	// ProcessedTwice: several committed outputs were made of one input record.
	ProcessedTwice Class = "processed-twice"
	// Unprocessed: the committed offset is past an input record of which no output
	// was made.
	Unprocessed Class = "unprocessed"
	// OffsetBehind: an output was made of an input record at which, or before which,
	// the committed offset still is.
	OffsetBehind Class = "offset-behind"
	// MadeOfNothing: an output names an input record that does not exist.
	MadeOfNothing Class = "made-of-nothing"
)

// Output is a committed record of a pipeline, with the input record it was made of.
type Output struct {
	Key          string
	Offset       int64
	Source       string
	SourceOffset int64
}

// Pipeline checks a pipeline that makes one output record of each input record
// and commits its offsets in the transactions of its outputs: the records
// processed are exactly those before the committed offsets, each once. Inputs are
// the offsets of the committed input records by key, committed the offsets at
// which the pipeline would go on.
func Pipeline(inputs map[string][]int64, outputs []Output, committed map[string]int64) []Anomaly {
	type source struct {
		key    string
		offset int64
	}
	made := map[source][]Output{}
	for _, o := range outputs {
		from := source{o.Source, o.SourceOffset}
		made[from] = append(made[from], o)
	}
	var found []Anomaly
	report := func(class Class, from source, format string, args ...any) {
		text := fmt.Sprintf("%s:%d ", from.key, from.offset) + fmt.Sprintf(format, args...)
		for _, o := range made[from] {
			text += fmt.Sprintf("\n    output %s:%d", o.Key, o.Offset)
		}
		found = append(found, Anomaly{Class: class, Key: from.key, Offset: from.offset, Text: text})
	}
	exists := map[source]bool{}
	for _, key := range slices.Sorted(maps.Keys(inputs)) {
		for _, offset := range inputs[key] {
			from := source{key, offset}
			exists[from] = true
			switch n := len(made[from]); {
			case n > 1:
				report(ProcessedTwice, from, "was processed %d times", n)
			case n == 0 && offset < committed[key]:
				report(Unprocessed, from, "was not processed, and the committed offset is %d", committed[key])
			case n == 1 && offset >= committed[key]:
				report(OffsetBehind, from, "was processed, and the committed offset is %d", committed[key])
			}
		}
	}
	sources := slices.SortedFunc(maps.Keys(made), func(a, b source) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.offset, b.offset))
	})
	for _, from := range sources {
		if !exists[from] {
			report(MadeOfNothing, from, "was processed, and there is no such record")
		}
	}
	return found
}
