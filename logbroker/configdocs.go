package logbroker

import (
	"slices"
	"strings"
)

// configDocs say what each config does here, in a sentence, for who asks DescribeConfigs
// for it. Of configs of the broker that topics or groups take theirs from they say
// nothing: documentation makes a sentence of that one's.
var configDocs = map[string]string{
	// Topics.
	"cleanup.policy":                          "What becomes of old records: delete removes them by age and size, compact keeps the last of each key; empty keeps all.",
	"compression.gzip.level":                  "How hard gzip works where the broker compresses anew, 1 to 9; -1 leaves it to the codec.",
	"compression.lz4.level":                   "How hard lz4 works where the broker compresses anew.",
	"compression.type":                        "The codec in which batches are stored; producer keeps each as it came.",
	"compression.zstd.level":                  "How hard zstd works where the broker compresses anew.",
	"delete.retention.ms":                     "How long a compacted topic keeps tombstones, so that every reader sees them.",
	"file.delete.delay.ms":                    "Stored only: files of segments that are removed go at once.",
	"flush.messages":                          "1 acknowledges a batch when it is on disk, whatever the server was started with; other values change nothing.",
	"flush.ms":                                "How long anything may not be on disk yet, a second at most.",
	"follower.replication.throttled.replicas": "Stored only: there are no followers.",
	"index.interval.bytes":                    "Stored only: the index has an entry every 4096 bytes.",
	internalSegmentBytes:                      "The size of a segment, below what segment.bytes takes, for tests.",
	"leader.replication.throttled.replicas":   "Stored only: there are no followers.",
	"local.retention.bytes":                   "Stored only: there is no tiered storage.",
	"local.retention.ms":                      "Stored only: there is no tiered storage.",
	"max.compaction.lag.ms":                   "How long a record may wait until it is compacted.",
	"max.message.bytes":                       "The largest batch of records.",
	"message.timestamp.after.max.ms":          "How far a producer's timestamp may be ahead of the broker's clock.",
	"message.timestamp.before.max.ms":         "How far a producer's timestamp may be behind the broker's clock.",
	"message.timestamp.type":                  "Whose clock counts: the producer's (CreateTime), or the broker's (LogAppendTime).",
	"min.cleanable.dirty.ratio":               "Which share of the log has to be new since it was last compacted for it to be compacted again.",
	"min.compaction.lag.ms":                   "How old a record is at least when it is compacted.",
	"min.insync.replicas":                     "Stored only: there is one replica.",
	"preallocate":                             "Stored only: room for segments is not reserved.",
	"remote.log.copy.disable":                 "Stored only: there is no tiered storage.",
	"remote.log.delete.on.disable":            "Stored only: there is no tiered storage.",
	"remote.storage.enable":                   "Always false: there is no tiered storage.",
	"retention.bytes":                         "The size of a partition above which its oldest segments go; -1 has no bound.",
	"retention.ms":                            "How long records are kept, by their own time; -1 is for ever.",
	"segment.bytes":                           "The size at which a segment is sealed and the next begins.",
	"segment.index.bytes":                     "Stored only: an index is as large as its segment needs.",
	"segment.jitter.ms":                       "Stored only: segments are sealed at segment.ms.",
	"segment.ms":                              "The age at which a segment is sealed and the next begins.",
	"unclean.leader.election.enable":          "Stored only: there is one replica.",

	// Groups.
	"consumer.assignment.interval.ms": "From one new assignment of a group to the next, however it changes.",
	"consumer.heartbeat.interval.ms":  "How often members are told to give a sign of life.",
	"consumer.session.timeout.ms":     "How long a member may give none before it is out.",

	// What the broker was started with.
	"auto.create.topics.enable":                 "Whether a topic is made when somebody asks for it.",
	"broker.id":                                 "The number of this broker.",
	"connections.max.idle.ms":                   "After which silence a connection is ended.",
	"default.replication.factor":                "Always 1: there is one broker.",
	"delete.topic.enable":                       "Always true: who has the right to may delete topics.",
	"group.initial.rebalance.delay.ms":          "How long the first members of a group wait for others.",
	"log.dir":                                   "The data directory.",
	"log.dirs":                                  "The data directory.",
	"log.flush.scheduler.interval.ms":           "Has no meaning: what is to be on disk is not looked for at intervals.",
	"log.retention.check.interval.ms":           "The time between two looks for what is too old or too much.",
	"log.retention.hours":                       "What retention.ms is where neither the topic nor log.retention.ms says it.",
	"log.retention.minutes":                     "Is not set: log.retention.ms says the same in milliseconds.",
	"log.roll.hours":                            "What segment.ms is where neither the topic nor log.roll.ms says it.",
	"log.roll.jitter.hours":                     "Has no meaning: segments are sealed at segment.ms.",
	"max.incremental.fetch.session.cache.slots": "How many fetch sessions of all clients there may be.",
	"node.id":                                   "The number of this broker.",
	"num.partitions":                            "How many partitions a topic has for which nobody says it.",
	"offset.metadata.max.bytes":                 "The longest text that may be committed with an offset.",
	"offsets.topic.replication.factor":          "Always 1: there is one broker, and offsets are in no topic.",
	"socket.request.max.bytes":                  "The largest request that produces.",
	"transaction.state.log.min.isr":             "Always 1: there is one broker, and transactions are in no topic.",
	"transaction.state.log.replication.factor":  "Always 1: there is one broker, and transactions are in no topic.",

	// What is the broker's alone, and changed while it runs.
	"log.cleaner.backoff.ms":           "The time between two looks for what is to be compacted, log.retention.check.interval.ms at most.",
	"log.cleaner.dedupe.buffer.size":   "The most memory for the keys of the log that is being compacted, 24 bytes a key, and 2 GiB at most.",
	"max.connections":                  "How many connections there may be at once.",
	"max.connections.per.ip":           "How many connections one address may have at once.",
	"max.connections.per.ip.overrides": "How many connections single addresses may have at once: a list of ADDRESS:CONNECTIONS.",
	"producer.id.expiration.ms":        "How long the sequence numbers of a producer are remembered that writes nothing.",

	// What Kafka takes, and nothing here goes by.
	"background.threads":                             noThreads,
	"config.providers":                               "Stored only: values are what they say.",
	"cordoned.log.dirs":                              "Stays empty: there is one data directory.",
	"follower.fetch.last.tiered.offset.enable":       noTiers,
	"follower.replication.throttled.rate":            "Stored only: there are no followers.",
	"group.coordinator.cached.buffer.max.bytes":      "Stored only: the coordinator of groups keeps no buffer.",
	"group.share.assignment.interval.ms":             "Stored only: there are no share groups.",
	"group.streams.assignment.interval.ms":           "Stored only: there are no streams groups.",
	"leader.replication.throttled.rate":              "Stored only: there are no followers.",
	"log.cleaner.io.buffer.load.factor":              "Stored only: how full the memory for keys gets is not chosen.",
	"log.cleaner.io.buffer.size":                     "Stored only: the buffers of a compaction are not chosen.",
	"log.cleaner.io.max.bytes.per.second":            "Stored only: compaction is not slowed down.",
	"log.cleaner.threads":                            noThreads,
	"max.connection.creation.rate":                   "Stored only: connection_creation_rate of addresses is a limit that counts.",
	"metric.reporters":                               "Stored only: there are no plugins.",
	"num.io.threads":                                 noThreads,
	"num.network.threads":                            noThreads,
	"num.recovery.threads.per.data.dir":              noThreads,
	"num.replica.fetchers":                           noThreads,
	"remote.fetch.max.wait.ms":                       noTiers,
	"remote.list.offsets.request.timeout.ms":         noTiers,
	"remote.log.index.file.cache.total.size.bytes":   noTiers,
	"remote.log.manager.copier.thread.pool.size":     noTiers,
	"remote.log.manager.copy.max.bytes.per.second":   noTiers,
	"remote.log.manager.expiration.thread.pool.size": noTiers,
	"remote.log.manager.fetch.max.bytes.per.second":  noTiers,
	"remote.log.manager.follower.thread.pool.size":   noTiers,
	"remote.log.reader.threads":                      noTiers,
	"replica.alter.log.dirs.io.max.bytes.per.second": "Stored only: there is one data directory.",
	"share.coordinator.cached.buffer.max.bytes":      "Stored only: there are no share groups.",
	"transaction.partition.verification.enable":      "Stored only: that a partition is in its transaction is always verified.",
}

const (
	noThreads = "Stored only: there are no threads whose number could be chosen."
	noTiers   = "Stored only: there is no tiered storage."
)

// documentation is what a config does; nil if there is none of that name.
func documentation(name string) *string {
	text, ok := configDocs[name]
	for _, of := range []struct {
		who   string
		table []configRow
	}{{"topics", topicConfigs}, {"groups", groupConfigTable}} {
		i := slices.IndexFunc(of.table, func(row configRow) bool { return row.broker == name })
		if i >= 0 && of.table[i].name != name {
			about := configDocs[of.table[i].name]
			text, ok = "For "+of.who+" that do not set "+of.table[i].name+": "+strings.ToLower(about[:1])+about[1:], true
		}
	}
	if !ok {
		return nil
	}
	return &text
}
