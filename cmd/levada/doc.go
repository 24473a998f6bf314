// Command levada is the one binary of Levada: the broker, pipelines, built-in
// connector plugins, and the tools to look at topics and groups.
//
// Exit codes: 0 done, 1 failed while running, 2 wrong input (flags, pipeline
// files), 3 the environment refuses (no broker, directory in use, disk full).
package main
