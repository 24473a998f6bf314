// Package acl says who may do what, by Kafka's rules (KIP-11, KIP-290): a rule
// allows or denies a principal from a host an operation on a resource, which it
// names, by a prefix, or with * for all. What a rule denies no other can allow, and
// what no rule allows is denied. It has no I/O; the broker keeps the rules.
package acl
