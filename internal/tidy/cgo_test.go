package tidy

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestNoCgo: nothing that the binary is made of, beside the standard library, has C
// in it, whatever the builder's settings.
func TestNoCgo(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "-f", `{{if not .Standard}}{{range .CgoFiles}}{{$.ImportPath}} {{.}}{{"\n"}}{{end}}{{end}}`, "./cmd/levada")
	list.Dir = root(t)
	list.Env = append(os.Environ(), "CGO_ENABLED=1")
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		t.Errorf("needs C: %s", strings.TrimSpace(line))
	}
}
