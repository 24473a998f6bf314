//go:build !planted

package planted

// FromEnvironment is nil: nothing is planted in a program that is built without
// the tag.
func FromEnvironment() (*Plan, error) { return nil, nil }
