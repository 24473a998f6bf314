//go:build planted

package planted

import (
	"fmt"
	"os"
)

// FromEnvironment is the plan that LEVADA_PLANT names; nil without one.
func FromEnvironment() (*Plan, error) {
	name := os.Getenv(Variable)
	if name == "" {
		return nil, nil
	}
	p, err := New(Fault(name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", Variable, err)
	}
	return p, nil
}
