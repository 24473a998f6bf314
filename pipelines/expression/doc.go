// Package expression compiles the expressions of a pipeline with expr-lang:
// typed against the names that are known in a place, with faults that say
// which characters are wrong and how to mend them, and with the type of the
// result, including which fields may be null.
//
// Expressions cannot call out: there is no clock but stream_time() and
// wall_time(), no function of the program, and there are bounds on the text,
// its nodes and the memory of a run.
package expression
