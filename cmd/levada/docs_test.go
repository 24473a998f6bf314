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

// namedTests are lists of tests in a document: those of a package, in backticks.
var namedTests = regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z]+)`((?:, `Test[A-Za-z]+`)*)")

// TestPromisesNameTheirTests: each test that the documents on reliability and compatibility
// name is there.
func TestPromisesNameTheirTests(t *testing.T) {
	for _, doc := range []string{"docs/reliability.md", "docs/compatibility.md"} {
		named := namedTests.FindAllStringSubmatch(documents(t)[doc], -1)
		for _, m := range named {
			files, err := filepath.Glob(filepath.Join(repository, m[1], "*_test.go"))
			if err != nil || len(files) == 0 {
				t.Errorf("%s: package %s: %v", doc, m[1], err)
			}
			var all bytes.Buffer
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				all.Write(b)
			}
			for _, test := range append([]string{m[2]}, regexp.MustCompile("Test[A-Za-z]+").FindAllString(m[3], -1)...) {
				if !strings.Contains(all.String(), "func "+test+"(t *testing.T)") {
					t.Errorf("%s: package %s has no %s", doc, m[1], test)
				}
			}
		}
		if len(named) < 10 {
			t.Errorf("%s: only %d tests are named", doc, len(named))
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
