package tidy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var required = regexp.MustCompile(`(?m)^\t(\S+) v\S+( // indirect)?$`)

// TestDependenciesAreListed: docs/dependencies.md says of every module that go.mod
// requires directly what it is for, by its name without github.com, and of none that
// is not there.
func TestDependenciesAreListed(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	var direct, all []string
	for _, m := range required.FindAllStringSubmatch(read("go.mod"), -1) {
		name := strings.TrimPrefix(m[1], "github.com/")
		if all = append(all, name); m[2] == "" {
			direct = append(direct, name)
		}
	}
	if len(direct) < 10 {
		t.Fatalf("only %q are required by go.mod", direct)
	}
	var listed []string
	for line := range strings.Lines(read("docs/dependencies.md")) {
		cells := strings.Split(line, "|")
		if len(cells) < 5 || strings.HasPrefix(cells[1], " module ") || strings.HasPrefix(cells[1], "---") || strings.HasPrefix(cells[1], " in `make e2e` only") {
			continue
		}
		for name := range strings.SplitSeq(cells[1], ",") {
			listed = append(listed, strings.TrimSpace(name))
		}
	}
	for _, name := range direct {
		if !slices.Contains(listed, name) {
			t.Errorf("%s is in go.mod and not in docs/dependencies.md: say what it is for", name)
		}
	}
	for _, name := range listed {
		if !slices.Contains(all, name) {
			t.Errorf("%s is in docs/dependencies.md and not in go.mod", name)
		}
	}
}
