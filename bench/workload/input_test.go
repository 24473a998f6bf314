package workload

import (
	"strings"
	"testing"
)

func TestInputIsRepeatable(t *testing.T) {
	for _, w := range []string{PassThrough, WordCount} {
		in := Input{Workload: w, Records: 1000, Keys: 50, Seed: 7}
		var first, second []string
		collect := func(to *[]string) func(Record) bool {
			return func(r Record) bool {
				*to = append(*to, string(r.Key)+"|"+string(r.Value))
				return true
			}
		}
		in.Walk(collect(&first))
		in.Walk(collect(&second))
		if int64(len(first)) != in.Lines() {
			t.Fatalf("%s: %d records, want %d", w, len(first), in.Lines())
		}
		if strings.Join(first, "\n") != strings.Join(second, "\n") {
			t.Fatalf("%s: two walks differ", w)
		}
	}
}

func TestKeysAreDistinctAndInvertible(t *testing.T) {
	for i := range int64(10_000) {
		got, err := KeyIndex(AppendKey(nil, i))
		if err != nil || got != i {
			t.Fatalf("KeyIndex(AppendKey(%d)) = %d, %v", i, got, err)
		}
	}
	if _, err := KeyIndex(make([]byte, KeySize-1)); err == nil {
		t.Fatal("a short key was taken")
	}
}

func TestWordsAreDistinct(t *testing.T) {
	seen := map[string]int64{}
	for i := range int64(vocabulary) {
		w := string(AppendWord(nil, i))
		if prev, ok := seen[w]; ok {
			t.Fatalf("ranks %d and %d are both %q", prev, i, w)
		}
		seen[w] = i
	}
}
