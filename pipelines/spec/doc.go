// Package spec is the format of a pipeline file as one table: every part,
// step and setting with its name, type, default, limits and a sentence for
// people. The checker of shapes (Check) and the reference documentation
// (Reference) both come from it, so that they cannot disagree.
//
// It knows shapes only. What names refer to and what expressions mean is for
// package pipelines.
package spec
