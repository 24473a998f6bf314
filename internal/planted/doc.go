// Package planted breaks promises of the broker on purpose, so that whoever
// watches over them can show that he notices.
//
// A fault is planted in one broker: by its tests, in any build, or by the
// environment variable LEVADA_PLANT in a program built with -tags planted. A
// program built without the tag ignores the variable, so nothing can be planted
// in it; what it pays is a comparison with nil where a fault could act.
package planted
