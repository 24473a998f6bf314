package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// plainCounts counts words with none of our code.
func plainCounts(t *testing.T, path string) map[string]int64 {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for _, word := range regexp.MustCompile(`\pL+`).FindAllString(strings.ToLower(string(text)), -1) {
		counts[word]++
	}
	return counts
}
