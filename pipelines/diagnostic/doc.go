// Package diagnostic holds the faults that are found in a text: where, what,
// and how to mend it. It sorts them, prints them with the line concerned, and
// finds the name that was probably meant. It knows nothing of pipelines.
package diagnostic
