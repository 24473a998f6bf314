// Package storetest is the conformance suite of key-value stores: whatever an
// engine keeps its state on, a store must equal a model of maps through updates,
// commits, aborts, flushes, scans, restarts and power losses.
package storetest
