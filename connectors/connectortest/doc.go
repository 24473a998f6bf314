// Package connectortest is the conformance suite of connectors. It speaks the
// plugin protocol, so that it tests a connector of any language; InProcess
// gives it a plugin of the sdk without a process.
//
// TestSource asserts that a source can be resumed from every position it gave
// without loss or doubling, keeps to its credit, stops, and refuses bad
// configurations and positions. TestSink asserts that a sink stores records
// and positions together, survives being cut off anywhere, fences older
// epochs, and stores nothing while records are rejected.
package connectortest
