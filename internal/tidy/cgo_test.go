package tidy

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestNoCgo: the binary is made without a C compiler: no package of it needs one, and
// none has C in it.
func TestNoCgo(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", `{{with .CgoFiles}}{{$.ImportPath}} {{.}}{{end}}`, "./cmd/levada")
	list.Dir = root(t)
	list.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("a package needs C: %v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		t.Errorf("has C in it: %s", strings.TrimSpace(line))
	}
}
