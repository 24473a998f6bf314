// Package tidy holds the tests that keep the house in order: which package may
// import which, how long files and functions are, that each package says what
// it is for, and that nothing is left behind that does not belong there.
package tidy
