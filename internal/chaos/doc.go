// Package chaos runs a real server under load, breaks it, and has what its
// clients saw checked by internal/checker.
//
// A run goes in rounds with topics of their own. In each, producers with and
// without transactions, zombies that are fenced, readers of both isolation levels
// and a pipeline that commits its offsets in its transactions talk to the server
// through a proxy that loses answers, delays requests and cuts connections, while
// the server is killed, stopped, ended, and loses power where that can be made
// (internal/powerloss). Then all is healed, read to the end, and checked.
//
// What is random comes from a seed, which is printed; the moments at which
// processes meet are not repeatable. It needs the program cmd/levada and leaves
// histories, logs and data of a round behind only if something was found in it.
package chaos
