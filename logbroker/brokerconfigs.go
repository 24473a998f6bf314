package logbroker

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerConfigs are what the broker's configuration comes to under Kafka's
// names, for clients that look: none can be changed while it runs.
func (b *Broker) brokerConfigs() []describedConfig {
	static := func(name string, kind kmsg.ConfigType, value string) describedConfig {
		return describedConfig{name, value, kind, kmsg.ConfigSourceStaticBrokerConfig}
	}
	number := func(name string, n int64) describedConfig {
		return static(name, kmsg.ConfigTypeLong, strconv.FormatInt(n, 10))
	}
	flush := int64(1)
	if b.cfg.Fsync != FsyncAlways {
		flush = 1<<63 - 1
	}
	return []describedConfig{
		static("auto.create.topics.enable", kmsg.ConfigTypeBoolean, strconv.FormatBool(b.cfg.AutoCreateTopics)),
		number("broker.id", int64(b.cfg.NodeID)),
		static("compression.type", kmsg.ConfigTypeString, "producer"),
		number("connections.max.idle.ms", b.cfg.patience.idle.Milliseconds()),
		number("default.replication.factor", 1),
		static("delete.topic.enable", kmsg.ConfigTypeBoolean, "true"),
		static("group.initial.rebalance.delay.ms", kmsg.ConfigTypeInt, strconv.FormatInt(b.cfg.InitialRebalanceDelay.Milliseconds(), 10)),
		static("log.cleanup.policy", kmsg.ConfigTypeList, "delete"),
		static("log.dir", kmsg.ConfigTypeString, b.cfg.Dir),
		static("log.dirs", kmsg.ConfigTypeString, b.cfg.Dir),
		number("log.flush.interval.messages", flush),
		number("log.retention.check.interval.ms", b.cfg.RetentionInterval.Milliseconds()),
		number("log.retention.ms", 604800000),
		number("log.segment.bytes", b.cfg.SegmentBytes),
		number("max.connections", int64(b.cfg.Limits.Connections)),
		number("max.incremental.fetch.session.cache.slots", int64(b.cfg.Limits.FetchSessions)),
		number("message.max.bytes", int64(b.cfg.Limits.BatchBytes)),
		number("min.insync.replicas", 1),
		number("node.id", int64(b.cfg.NodeID)),
		number("num.partitions", int64(b.cfg.DefaultPartitions)),
		number("offset.metadata.max.bytes", maxOffsetMetadata),
		number("offsets.topic.replication.factor", 1),
		number("socket.request.max.bytes", int64(b.cfg.Limits.ProduceBytes)),
		number("transaction.state.log.min.isr", 1),
		number("transaction.state.log.replication.factor", 1),
	}
}
