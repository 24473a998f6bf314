package pipelines

import (
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/levada/levada/connectors/sdk"
	"github.com/levada/levada/pipelines/diagnostic"
	"github.com/levada/levada/pipelines/document"
	"github.com/levada/levada/pipelines/spec"
)

// Options say what a file is read against. The zero value takes the process's
// environment and knows no connector.
type Options struct {
	// Env looks up environment variables. Default os.LookupEnv.
	Env func(string) (string, bool)
	// Connectors are those whose settings are checked.
	Connectors []sdk.Plugin
	// External are names of further connectors. If Connectors or External is
	// set, a connector that neither names is an error.
	External []string
	// ReadFile reads the file. Default os.ReadFile.
	ReadFile func(string) ([]byte, error)
	// Now is what wall_time() gives. Default time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Env == nil {
		o.Env = os.LookupEnv
	}
	if o.ReadFile == nil {
		o.ReadFile = readFile
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// readFile reads at most what a document may have, and one byte more.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is not a file")}
	}
	if info.Size() > document.MaxBytes {
		return make([]byte, document.MaxBytes+1), nil
	}
	return os.ReadFile(path)
}

// Diagnostics is what was found in a file, sorted by place.
type Diagnostics struct {
	diagnostic.List
	sources map[string][]byte
}

// String prints all of it, with the lines concerned.
func (d Diagnostics) String() string {
	return d.Render(func(file string) []byte { return d.sources[file] })
}

// Load reads, checks and compiles a pipeline file. The plan is nil if there
// are errors; there may be warnings beside a plan.
func Load(path string, opts Options) (*Plan, Diagnostics) {
	opts = opts.withDefaults()
	text, err := opts.ReadFile(path)
	if err != nil {
		return nil, Diagnostics{List: diagnostic.List{{
			File: path, Span: diagnostic.Span{Line: 1, Column: 1}, Code: "file", Message: err.Error(), Help: "name a file that can be read",
		}}}
	}
	return Parse(path, text, opts)
}

// Parse is Load for text that is already there. file names it in messages.
func Parse(file string, text []byte, opts Options) (*Plan, Diagnostics) {
	opts = opts.withDefaults()
	root, faults := document.Parse(file, text, opts.Env)
	c := &checker{file: file, opts: opts, root: root, faults: faults}
	var plan *Plan
	if root != nil {
		plan = c.check()
	}
	c.faults.Sort()
	if c.faults.HasErrors() {
		plan = nil
	}
	return plan, Diagnostics{List: c.faults, sources: map[string][]byte{file: text}}
}

// check runs all checks and compiles what has no fault.
func (c *checker) check() *Plan {
	c.spec = spec.NewChecker()
	c.spec.Check(c.root, c.fault)
	c.declarations()
	c.readFlows()
	for _, f := range c.flows {
		c.resolve(f)
	}
	c.usage()
	if c.faults.HasErrors() {
		return nil
	}
	plan, err := c.compile()
	if err != nil {
		c.fault(c.root.Span, "plan", err.Error(), "")
		return nil
	}
	return plan
}
