package expression

import (
	"errors"
	"fmt"
	"time"

	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"

	"github.com/levada/levada/pipelines/row"
)

// Limits of an expression.
const (
	MaxBytes = 16 << 10
	MaxNodes = 2000
	// memoryBudget is how many values a run may make.
	memoryBudget = 200_000
)

// Program is a compiled expression. It is immutable.
type Program struct {
	// Type is the type of the result.
	Type *row.Type
	// Uses lists the names of the scope that the expression looks at.
	Uses []string
	// ChecksNull tells that the expression compares something with nil.
	ChecksNull bool

	program  *vm.Program
	constant any
}

// Constant is a program that gives v.
func Constant(v any, t *row.Type) *Program { return &Program{Type: t, constant: v} }

// Constant returns the value of a program made by Constant.
func (p *Program) Constant() (v any, ok bool) { return p.constant, p.program == nil }

// UsesName tells whether the expression looks at a name.
func (p *Program) UsesName(name string) bool {
	for _, n := range p.Uses {
		if n == name {
			return true
		}
	}
	return false
}

// Machine runs programs. It belongs to one goroutine at a time: the stack and
// the map of names are used again for each run.
type Machine struct {
	vm  vm.VM
	env map[string]any
	// StreamTimeMs is what stream_time() gives, ms since 1970.
	StreamTimeMs int64
}

// NewMachine makes a Machine. now is what wall_time() gives.
func NewMachine(now func() time.Time) *Machine {
	m := &Machine{env: map[string]any{}}
	m.vm.MemoryBudget = memoryBudget
	m.env[streamTime] = func() time.Time { return time.UnixMilli(m.StreamTimeMs).UTC() }
	m.env[wallTime] = now
	return m
}

// Set gives a name its value for the runs that follow.
func (m *Machine) Set(name string, v any) { m.env[name] = v }

// Run runs a program. The error is one line.
func (m *Machine) Run(p *Program) (any, error) {
	if p.program == nil {
		return p.constant, nil
	}
	v, err := m.vm.Run(p.program, m.env)
	if err != nil {
		var fe *file.Error
		if errors.As(err, &fe) {
			return nil, fmt.Errorf("%s, in %s", fe.Message, excerpt(p.program.Source().String()))
		}
		return nil, err
	}
	return v, nil
}

// excerpt is an expression for a message.
func excerpt(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80]) + "…"
	}
	return "`" + s + "`"
}

// Text is the expression as it was written; empty for a constant.
func (p *Program) Text() string {
	if p.program == nil {
		return ""
	}
	return p.program.Source().String()
}
