package group

import "regexp"

// Topic is a topic as a consumer group knows it.
type Topic struct {
	ID         TopicID
	Name       string
	Partitions int32
}

// Topics is where a consumer group looks topics up.
type Topics interface {
	// ByName finds a topic.
	ByName(name string) (Topic, bool)
	// ByID finds a topic.
	ByID(id TopicID) (Topic, bool)
	// Match lists the topics whose whole name matches, by name, as far as a
	// principal at a host may see them; an empty principal may see all.
	Match(re *regexp.Regexp, principal, host string) []Topic
	// Version changes with every topic that comes, goes or grows.
	Version() uint64
	// Created changes with every topic that comes.
	Created() uint64
}
