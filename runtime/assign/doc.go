// Package assign decides which member of a group works on which task. It is
// pure functions: what a member tells the group (UserData inside the consumer
// protocol's Metadata), what the leader decides (Assign), and what each member
// is told (Assignment). The franz-go balancer and the embedded member both
// call it, so members of both kinds can be in one group.
//
// A task is a sub-topology and a partition number: partition p of every topic
// of the sub-topology goes to one member. A sub-topology has as many tasks as
// its widest topic has partitions.
//
// # What Assign promises
//
//   - It is deterministic: the same members and topics give the same result,
//     whatever their order.
//   - Each sub-topology's tasks, and all tasks together, are spread evenly:
//     between two members that run the same topology the counts differ by at
//     most one.
//   - It is sticky: among all such spreads it takes one that moves the fewest
//     tasks away from who owns them.
//   - It is cooperative (KIP-429): a partition that some other member still
//     claims is given to nobody new. Its owner is told to give it up, joins
//     again, and only the next round hands it over. So nothing is ever owned
//     twice.
//
// # Claims
//
// A member claims what it owned in the generation it last saw (KIP-792). Of
// two claims to a partition the one of the higher generation counts as the
// owner; two claims of the same generation cannot both be true and neither
// counts. But every claim, true or not, keeps the partition from a third
// member: the claimant has still to hear that it owns nothing.
//
// Assignment.UserData lists the transactional ids of all members, so that who
// takes over a task of a member that is not among them knows to fence it.
//
// Standby tasks are not assigned yet.
package assign
