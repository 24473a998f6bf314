// Package launch turns an application id, a topology and an address into a
// running application: it opens the log (a broker in this process, or a
// cluster over TCP), the engine for its state and its process id, and runs the
// topology until it is told to stop or until its input is used up. Programs and
// the command line start with it; who needs more uses package runtime itself.
package launch
