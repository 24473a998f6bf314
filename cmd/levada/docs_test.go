package main

import (
	"bufio"
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const repository = "../.."

// documents are all that a user is given to read, with their text.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	read := func(path string) {
		text, err := os.ReadFile(filepath.Join(repository, path))
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(text)
	}
	read("README.md")
	read("CONTRIBUTING.md")
	err := fs.WalkDir(os.DirFS(repository), "docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil || len(texts) < 10 {
		t.Fatalf("%d documents, %v", len(texts), err)
	}
	return texts
}

// blocks are the fenced blocks of a language in a text.
func blocks(text, language string) (found []string) {
	for i, part := range strings.Split(text, "```") {
		if rest, ok := strings.CutPrefix(part, language+"\n"); ok && i%2 == 1 {
			found = append(found, rest)
		}
	}
	return found
}

// copyOfRepository is the tree as it lies here, without what was built or made.
func copyOfRepository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	entries, err := os.ReadDir(repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "bin" || e.Name() == "data" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		from, to := filepath.Join(repository, e.Name()), filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = os.CopyFS(to, os.DirFS(from))
		} else {
			var b []byte
			if b, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(to, b, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestCommandsOfTheDocuments runs every command that the documents give, in
// their order, in a copy of the repository. A server goes on until the document
// ends or starts another, and the commands after it talk to it.
func TestCommandsOfTheDocuments(t *testing.T) {
	dir := copyOfRepository(t)
	t.Setenv("LEVADA_PROFILES", filepath.Join(t.TempDir(), "profiles.json"))
	texts, ran := documents(t), 0
	for _, doc := range append([]string{"README.md", "CONTRIBUTING.md"}, others(texts)...) {
		stop := func() {}
		for _, block := range blocks(texts[doc], "sh") {
			for line := range strings.Lines(block) {
				command, _, _ := strings.Cut(strings.TrimSpace(line), "# ")
				if command = strings.TrimSpace(command); command == "" {
					continue
				}
				ran++
				switch {
				case command == "make test": // which is running this
				case strings.HasPrefix(command, "make chaos"): // which takes as long as it is told, and runs in make e2e
				case strings.HasPrefix(command, "bin/levada server"):
					stop()
					stop = serve(t, dir, command)
				default:
					if out := shell(t, dir, command); len(bytes.TrimSpace(out)) == 0 {
						t.Errorf("%s: %q printed nothing", doc, command)
					}
				}
			}
		}
		stop()
	}
	if ran < 6 {
		t.Errorf("only %d commands were found", ran)
	}
	again := string(shell(t, dir, "make run"))
	for _, want := range []string{"0 records in", "9825", "Try next"} {
		if !strings.Contains(again, want) {
			t.Errorf("make run, again: no %q in\n%s", want, again)
		}
	}
}

func others(texts map[string]string) (names []string) {
	for name := range texts {
		if strings.HasPrefix(name, "docs/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// shell runs a command that must succeed.
func shell(t *testing.T, dir, command string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", command, err, out)
	}
	return out
}

var listenPort = regexp.MustCompile(`(--listen \S+:)\d+`)

// serve starts a server and waits until it listens; the commands that follow talk
// to it. The ports are any free ones, for those that are named may be taken on this
// machine.
func serve(t *testing.T, dir, command string) (stop func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", "exec "+listenPort.ReplaceAllString(command, "${1}0")+" --listen 127.0.0.1:0")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var address string
	for lines := bufio.NewScanner(out); !strings.HasPrefix(address, "127.") && lines.Scan(); {
		address = strings.TrimPrefix(lines.Text(), "listening on ")
	}
	if address == "" {
		t.Errorf("%s: does not listen", command)
	}
	t.Setenv("LEVADA_BROKERS", address)
	return func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: ended with %v", command, err)
		}
		t.Setenv("LEVADA_BROKERS", "")
	}
}

// TestPipelinesOfTheDocuments checks every pipeline that the documents show
// whole.
func TestPipelinesOfTheDocuments(t *testing.T) {
	found := 0
	for doc, text := range documents(t) {
		for _, block := range blocks(text, "yaml") {
			if !strings.Contains(block, "version: 1") {
				continue // a part of one
			}
			found++
			path := filepath.Join(t.TempDir(), "pipeline.yaml")
			writeFile(t, path, block)
			if out := levada(t, "", "check", path); out.code != exitDone {
				t.Errorf("%s: a pipeline that is refused:\n%s\n%s", doc, block, out.stderr)
			}
		}
	}
	if found == 0 {
		t.Error("no pipeline is shown")
	}
}

// namedTests are names of tests in backticks, with their package or, where that is the one of
// the name before, without.
var namedTests = regexp.MustCompile("`(?:([a-z0-9/]+)\\.)?((?:Test|Fuzz)[A-Za-z0-9]+)`")

// testsOf are the tests and fuzz targets of a package.
func testsOf(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, pkg, "*.go")) // a suite is in none of *_test.go
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(\w+ (?:\*testing\.[TF]|testing\.TB)\b`).FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
	}
	return found
}

// TestPromisesNameTheirTests: each test and fuzz target that the documents on reliability and
// compatibility name is there, in the package that they say.
func TestPromisesNameTheirTests(t *testing.T) {
	packages := map[string]map[string]bool{}
	for doc, least := range map[string]int{"docs/reliability.md": 350, "docs/compatibility.md": 10} {
		names, pkg := 0, "" // the package of the name before, in this row or paragraph
		for line := range strings.Lines(documents(t)[doc]) {
			if line == "\n" || strings.HasPrefix(line, "|") {
				pkg = ""
			}
			for _, m := range namedTests.FindAllStringSubmatchIndex(line, -1) {
				test := line[m[4]:m[5]]
				if m[2] >= 0 {
					pkg = line[m[2]:m[3]]
				}
				if packages[pkg] == nil {
					packages[pkg] = testsOf(t, pkg)
				}
				if names++; !packages[pkg][test] {
					t.Errorf("%s: package %q has no %s", doc, pkg, test)
				}
			}
		}
		if names < least {
			t.Errorf("%s: only %d tests are named", doc, names)
		}
	}
}

// TestDifferencesNameTheirTests: each row of the tables of docs/compatibility.md that say so
// is shown by a test.
func TestDifferencesNameTheirTests(t *testing.T) {
	rows, shown := 0, false
	for line := range strings.Lines(documents(t)["docs/compatibility.md"]) {
		switch {
		case !strings.HasPrefix(line, "|"):
			shown = false
		case strings.HasSuffix(line, "| shown by |\n"):
			shown = true
		case shown && !strings.HasPrefix(line, "|-"):
			rows++
			cells := strings.Split(line, " | ")
			if last := cells[len(cells)-1]; !namedTests.MatchString(last) {
				t.Errorf("no test shows: %s", line)
			}
		}
	}
	if rows < 20 {
		t.Errorf("only %d rows are shown by a test", rows)
	}
}

// TestDocumentsThatAreNamed: a document that code or another document names is
// there.
func TestDocumentsThatAreNamed(t *testing.T) {
	named := regexp.MustCompile(`docs/[a-zA-Z0-9/_.-]*\.md`)
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".go", ".md", ".proto":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		for _, doc := range named.FindAllString(string(text), -1) {
			if _, err := os.Stat(filepath.Join(repository, doc)); err != nil {
				t.Errorf("%s names %s: %v", path, doc, err)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
