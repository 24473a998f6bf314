// Package logclienttest is the conformance suite of logclient: each promise of
// its comments is a subtest, which every implementation runs.
//
// The suite drives members as a worker does, by Poll and Wake, never by
// sleeping, and uses topics and groups with names of their own, so that it can
// run against a cluster that others use.
package logclienttest
