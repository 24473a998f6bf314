// Package planted breaks promises of the broker on purpose, so that whoever
// watches over them can show that he notices.
//
// Faults are in a program that is built with -tags planted, and act in a broker for
// which its test has planted one, or the environment variable LEVADA_PLANT has. In a
// program that is built without the tag there are none, and nothing is left of them.
package planted
