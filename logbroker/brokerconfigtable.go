package logbroker

import (
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerConfig is a config of the broker.
type brokerConfig struct {
	configRow
	use use
}

// use is what becomes of a config of the broker when it is set while it runs.
type use byte

const (
	// fixed ones cannot be: they are given when it starts.
	fixed use = iota
	// live ones are acted on at once.
	live
	// kept ones mean nothing here. Kafka takes them, so they are stored, and told
	// where they are set.
	kept
	// pools are kept too: numbers of threads, that at most double or halve.
	pools
)

const (
	shorts   = kmsg.ConfigTypeShort
	ints     = kmsg.ConfigTypeInt
	longs    = kmsg.ConfigTypeLong
	doubles  = kmsg.ConfigTypeDouble
	booleans = kmsg.ConfigTypeBoolean
	texts    = kmsg.ConfigTypeString
	lists    = kmsg.ConfigTypeList
)

func isNumber(kind kmsg.ConfigType) bool {
	return slices.Contains([]kmsg.ConfigType{shorts, ints, longs, doubles}, kind)
}

const (
	maxInt  = "2147483647"
	maxLong = "9223372036854775807"
)

var (
	anyLong  = between(math.MinInt64, math.MaxInt64)
	notLess  = between(0, math.MaxInt64)
	positive = between(1, math.MaxInt64)
	natural  = between(1, math.MaxInt32)
	trueness = oneOf("true", "false")
	anyText  = taken{func(string) bool { return true }, "any text"}
	number   = taken{func(s string) bool { _, err := strconv.ParseFloat(s, 64); return err == nil }, "a number"}
)

// brokerConfigs are the configs of the broker that it tells, with Kafka's names, types,
// defaults and bounds; a number without a default has none. Those that topics take theirs
// from have their row in topicConfigs, which names them.
var brokerConfigs = []brokerConfig{
	{configRow{name: "auto.create.topics.enable", kind: booleans, fallback: "true"}, fixed},
	{configRow{name: "broker.id", kind: ints, fallback: "-1"}, fixed},
	{configRow{name: "connections.max.idle.ms", kind: longs, fallback: "600000"}, fixed},
	{configRow{name: "default.replication.factor", kind: ints, fallback: "1"}, fixed},
	{configRow{name: "delete.topic.enable", kind: booleans, fallback: "true"}, fixed},
	{configRow{name: "group.consumer.heartbeat.interval.ms", kind: ints, fallback: "5000"}, fixed},
	{configRow{name: "group.consumer.session.timeout.ms", kind: ints, fallback: "45000"}, fixed},
	{configRow{name: "group.initial.rebalance.delay.ms", kind: ints, fallback: "3000"}, fixed},
	{configRow{name: "log.dir", kind: lists, fallback: "/tmp/kafka-logs"}, fixed},
	{configRow{name: "log.dirs", kind: lists}, fixed},
	{configRow{name: "log.flush.scheduler.interval.ms", kind: longs, fallback: maxLong}, fixed},
	{configRow{name: "log.retention.check.interval.ms", kind: longs, fallback: "300000"}, fixed},
	{configRow{name: "log.retention.hours", kind: ints, fallback: "168"}, fixed},
	{configRow{name: "log.retention.minutes", kind: ints}, fixed},
	{configRow{name: "log.roll.hours", kind: ints, fallback: "168"}, fixed},
	{configRow{name: "log.roll.jitter.hours", kind: ints, fallback: "0"}, fixed},
	{configRow{name: "max.incremental.fetch.session.cache.slots", kind: ints, fallback: "1000"}, fixed},
	{configRow{name: "node.id", kind: ints}, fixed},
	{configRow{name: "num.partitions", kind: ints, fallback: "1"}, fixed},
	{configRow{name: "offset.metadata.max.bytes", kind: ints, fallback: "4096"}, fixed},
	{configRow{name: "offsets.topic.replication.factor", kind: shorts, fallback: "3"}, fixed},
	{configRow{name: "socket.request.max.bytes", kind: ints, fallback: "104857600"}, fixed},
	{configRow{name: "transaction.state.log.min.isr", kind: ints, fallback: "2"}, fixed},
	{configRow{name: "transaction.state.log.replication.factor", kind: shorts, fallback: "3"}, fixed},

	{configRow{name: "compression.gzip.level", kind: ints, fallback: "-1", takes: either("-1", between(1, 9))}, live},
	{configRow{name: "compression.lz4.level", kind: ints, fallback: "9", takes: between(1, 17)}, live},
	{configRow{name: "compression.type", kind: texts, fallback: "producer", takes: compressionTypes}, live},
	{configRow{name: "compression.zstd.level", kind: ints, fallback: "3", takes: between(-131072, 22)}, live},
	{configRow{name: "group.consumer.assignment.interval.ms", kind: ints, fallback: "1000", takes: between(0, 15000)}, live},
	{configRow{name: "log.cleaner.backoff.ms", kind: longs, fallback: "15000", takes: notLess}, live},
	{configRow{name: "log.cleaner.dedupe.buffer.size", kind: longs, fallback: "134217728", takes: between(1<<20+1, math.MaxInt64)}, live},
	{configRow{name: "log.cleaner.delete.retention.ms", kind: longs, fallback: "86400000", takes: notLess}, live},
	{configRow{name: "log.cleaner.max.compaction.lag.ms", kind: longs, fallback: maxLong, takes: positive}, live},
	{configRow{name: "log.cleaner.min.cleanable.ratio", kind: doubles, fallback: "0.5", takes: ratio}, live},
	{configRow{name: "log.cleaner.min.compaction.lag.ms", kind: longs, fallback: "0", takes: notLess}, live},
	{configRow{name: "log.cleanup.policy", kind: lists, fallback: "delete", takes: listOf("delete", "compact")}, live},
	{configRow{name: "log.flush.interval.messages", kind: longs, fallback: maxLong, takes: positive}, live},
	{configRow{name: "log.flush.interval.ms", kind: longs, takes: anyLong}, live},
	{configRow{name: "log.index.interval.bytes", kind: ints, fallback: "4096", takes: between(0, math.MaxInt32)}, live},
	{configRow{name: "log.index.size.max.bytes", kind: ints, fallback: "10485760", takes: between(4, math.MaxInt32)}, live},
	{configRow{name: "log.local.retention.bytes", kind: longs, fallback: "-2", takes: between(-2, math.MaxInt64)}, live},
	{configRow{name: "log.local.retention.ms", kind: longs, fallback: "-2", takes: between(-2, math.MaxInt64)}, live},
	{configRow{name: "log.message.timestamp.after.max.ms", kind: longs, fallback: "3600000", takes: notLess}, live},
	{configRow{name: "log.message.timestamp.before.max.ms", kind: longs, fallback: maxLong, takes: notLess}, live},
	{configRow{name: "log.message.timestamp.type", kind: texts, fallback: "CreateTime", takes: oneOf("CreateTime", "LogAppendTime")}, live},
	{configRow{name: "log.preallocate", kind: booleans, fallback: "false", takes: trueness}, live},
	{configRow{name: "log.retention.bytes", kind: longs, fallback: "-1", takes: anyLong}, live},
	{configRow{name: "log.retention.ms", kind: longs, takes: taken{func(s string) bool { return s != "0" && anyLong.check(s) }, "1 or more, or -1 for no end"}}, live},
	{configRow{name: "log.roll.jitter.ms", kind: longs, takes: notLess}, live},
	{configRow{name: "log.roll.ms", kind: longs, takes: positive}, live},
	{configRow{name: "log.segment.bytes", kind: ints, fallback: "1073741824", takes: between(1<<20, math.MaxInt32)}, live},
	{configRow{name: "log.segment.delete.delay.ms", kind: longs, fallback: "60000", takes: notLess}, live},
	{configRow{name: "max.connections", kind: ints, fallback: maxInt, takes: natural}, live},
	{configRow{name: "max.connections.per.ip", kind: ints, fallback: maxInt, takes: between(0, math.MaxInt32)}, live},
	{configRow{name: "max.connections.per.ip.overrides", kind: texts, takes: hostLimits}, live},
	{configRow{name: "message.max.bytes", kind: ints, fallback: "1048588", takes: between(0, math.MaxInt32)}, live},
	{configRow{name: "min.insync.replicas", kind: ints, fallback: "1", takes: natural}, live},
	{configRow{name: "producer.id.expiration.ms", kind: ints, fallback: "86400000", takes: natural}, live},
	{configRow{name: "unclean.leader.election.enable", kind: booleans, fallback: "false", takes: trueness}, live},

	{configRow{name: "background.threads", kind: ints, fallback: "10", takes: natural}, pools},
	{configRow{name: "log.cleaner.threads", kind: ints, fallback: "1", takes: natural}, pools},
	{configRow{name: "num.io.threads", kind: ints, fallback: "8", takes: natural}, pools},
	{configRow{name: "num.network.threads", kind: ints, fallback: "3", takes: natural}, pools},
	{configRow{name: "num.recovery.threads.per.data.dir", kind: ints, fallback: "2", takes: natural}, pools},
	{configRow{name: "num.replica.fetchers", kind: ints, fallback: "1", takes: natural}, pools},
	{configRow{name: "remote.log.manager.copier.thread.pool.size", kind: ints, fallback: "10", takes: natural}, pools},
	{configRow{name: "remote.log.manager.expiration.thread.pool.size", kind: ints, fallback: "10", takes: natural}, pools},
	{configRow{name: "remote.log.manager.follower.thread.pool.size", kind: ints, fallback: "2", takes: natural}, pools},
	{configRow{name: "remote.log.reader.threads", kind: ints, fallback: "10", takes: natural}, pools},

	{configRow{name: "config.providers", kind: lists, takes: anyText}, kept},
	{configRow{name: "cordoned.log.dirs", kind: lists, takes: taken{func(s string) bool { return s == "" }, "nothing: there is one directory"}}, kept},
	{configRow{name: "follower.fetch.last.tiered.offset.enable", kind: booleans, fallback: "false", takes: trueness}, kept},
	{configRow{name: "follower.replication.throttled.rate", kind: longs, takes: notLess}, kept},
	{configRow{name: "group.coordinator.cached.buffer.max.bytes", kind: ints, fallback: "1048588", takes: between(512<<10, math.MaxInt32)}, kept},
	{configRow{name: "group.share.assignment.interval.ms", kind: ints, fallback: "1000", takes: between(0, 15000)}, kept},
	{configRow{name: "group.streams.assignment.interval.ms", kind: ints, fallback: "1000", takes: between(0, 15000)}, kept},
	{configRow{name: "leader.replication.throttled.rate", kind: longs, takes: notLess}, kept},
	{configRow{name: "log.cleaner.io.buffer.load.factor", kind: doubles, fallback: "0.9", takes: number}, kept},
	{configRow{name: "log.cleaner.io.buffer.size", kind: ints, fallback: "524288", takes: between(0, math.MaxInt32)}, kept},
	{configRow{name: "log.cleaner.io.max.bytes.per.second", kind: doubles, fallback: "1.7976931348623157E308", takes: number}, kept},
	{configRow{name: "max.connection.creation.rate", kind: ints, fallback: maxInt, takes: natural}, kept},
	{configRow{name: "metric.reporters", kind: lists, fallback: jmxReporter, takes: listOf(jmxReporter)}, kept},
	{configRow{name: "remote.fetch.max.wait.ms", kind: ints, fallback: "500", takes: natural}, kept},
	{configRow{name: "remote.list.offsets.request.timeout.ms", kind: longs, fallback: "30000", takes: positive}, kept},
	{configRow{name: "remote.log.index.file.cache.total.size.bytes", kind: longs, fallback: "1073741824", takes: positive}, kept},
	{configRow{name: "remote.log.manager.copy.max.bytes.per.second", kind: longs, fallback: maxLong, takes: positive}, kept},
	{configRow{name: "remote.log.manager.fetch.max.bytes.per.second", kind: longs, fallback: maxLong, takes: positive}, kept},
	{configRow{name: "replica.alter.log.dirs.io.max.bytes.per.second", kind: longs, takes: notLess}, kept},
	{configRow{name: "share.coordinator.cached.buffer.max.bytes", kind: ints, fallback: "1048588", takes: between(512<<10, math.MaxInt32)}, kept},
	{configRow{name: "transaction.partition.verification.enable", kind: booleans, fallback: "true", takes: trueness}, kept},
}

const jmxReporter = "org.apache.kafka.common.metrics.JmxReporter"

func brokerConfigNamed(name string) *brokerConfig {
	i := slices.IndexFunc(brokerConfigs, func(c brokerConfig) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return &brokerConfigs[i]
}

// sameConfigs are the configs of the broker that say the same, in other units, and in
// which order they are looked at.
var sameConfigs = map[string][]string{
	"log.flush.interval.ms": {"log.flush.interval.ms", "log.flush.scheduler.interval.ms"},
	"log.retention.ms":      {"log.retention.ms", "log.retention.minutes", "log.retention.hours"},
	"log.roll.jitter.ms":    {"log.roll.jitter.ms", "log.roll.jitter.hours"},
	"log.roll.ms":           {"log.roll.ms", "log.roll.hours"},
}

// hostLimits takes a list of ADDRESS:CONNECTIONS.
var hostLimits = taken{func(s string) bool { _, ok := parseHostLimits(s); return ok }, "a list of ADDRESS:CONNECTIONS"}

// parseHostLimits reads how many connections single addresses may have.
func parseHostLimits(s string) (map[string]int, bool) {
	out := map[string]int{}
	for _, word := range listWords(s) {
		if word == "" {
			continue
		}
		colon := strings.LastIndex(word, ":")
		if colon < 0 {
			return nil, false
		}
		host, err := netip.ParseAddr(strings.Trim(word[:colon], "[]"))
		n, err2 := strconv.ParseInt(word[colon+1:], 10, 32)
		if err != nil || err2 != nil {
			return nil, false
		}
		out[host.Unmap().String()] = int(n)
	}
	return out, true
}
