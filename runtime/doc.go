// Package runtime runs a topology: workers that are members of a consumer
// group read its topics through the seam runtime/logclient, run tasks, keep
// their state in package statestore, and commit outputs, changelogs and input
// offsets in one transaction.
//
// An App is one process of an application; processes with the same
// application id share the work. A Worker is one member: it is stepped, never
// blocks and starts no goroutine, so that a whole application can be run by one
// deterministic scheduler; App.Run drives each worker by a goroutine.
//
// The package is named as the standard library's runtime; where both are
// needed import that one as goruntime.
package runtime
