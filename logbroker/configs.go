package logbroker

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
)

// internalSegmentBytes stands in for segment.bytes where a test wants segments that
// are smaller than it may say. Who has not set it does not see it.
const internalSegmentBytes = "internal.segment.bytes"

var compressionTypes = oneOf("producer", "uncompressed", "gzip", "snappy", "lz4", "zstd")

// topicConfigs are the configs that a topic can have. All are stored and
// answered; policy is what is acted on.
var topicConfigs = []configRow{
	{"cleanup.policy", kmsg.ConfigTypeList, "delete", listOf("delete", "compact"), "log.cleanup.policy"},
	{"compression.gzip.level", kmsg.ConfigTypeInt, "-1", either("-1", between(1, 9)), "compression.gzip.level"},
	{"compression.lz4.level", kmsg.ConfigTypeInt, "9", between(1, 17), "compression.lz4.level"},
	{"compression.type", kmsg.ConfigTypeString, "producer", compressionTypes, "compression.type"},
	{"compression.zstd.level", kmsg.ConfigTypeInt, "3", between(-131072, 22), "compression.zstd.level"},
	{"delete.retention.ms", kmsg.ConfigTypeLong, "86400000", between(0, math.MaxInt64), "log.cleaner.delete.retention.ms"},
	{"file.delete.delay.ms", kmsg.ConfigTypeLong, "60000", between(0, math.MaxInt64), "log.segment.delete.delay.ms"},
	{"flush.messages", kmsg.ConfigTypeLong, "9223372036854775807", between(1, math.MaxInt64), "log.flush.interval.messages"},
	{"flush.ms", kmsg.ConfigTypeLong, "9223372036854775807", between(0, math.MaxInt64), "log.flush.interval.ms"},
	{"index.interval.bytes", kmsg.ConfigTypeInt, "4096", between(0, math.MaxInt32), "log.index.interval.bytes"},
	{"follower.replication.throttled.replicas", kmsg.ConfigTypeList, "", throttledReplicas, ""},
	{internalSegmentBytes, kmsg.ConfigTypeInt, "", between(math.MinInt32, math.MaxInt32), ""},
	{"leader.replication.throttled.replicas", kmsg.ConfigTypeList, "", throttledReplicas, ""},
	{"local.retention.bytes", kmsg.ConfigTypeLong, "-2", between(-2, math.MaxInt64), "log.local.retention.bytes"},
	{"local.retention.ms", kmsg.ConfigTypeLong, "-2", between(-2, math.MaxInt64), "log.local.retention.ms"},
	{"max.compaction.lag.ms", kmsg.ConfigTypeLong, "9223372036854775807", between(1, math.MaxInt64), "log.cleaner.max.compaction.lag.ms"},
	{"max.message.bytes", kmsg.ConfigTypeInt, "1048588", between(0, math.MaxInt32), "message.max.bytes"},
	{"message.timestamp.after.max.ms", kmsg.ConfigTypeLong, "3600000", between(0, math.MaxInt64), "log.message.timestamp.after.max.ms"},
	{"message.timestamp.before.max.ms", kmsg.ConfigTypeLong, "9223372036854775807", between(0, math.MaxInt64), "log.message.timestamp.before.max.ms"},
	{"message.timestamp.type", kmsg.ConfigTypeString, "CreateTime", oneOf("CreateTime", "LogAppendTime"), "log.message.timestamp.type"},
	{"min.cleanable.dirty.ratio", kmsg.ConfigTypeDouble, "0.5", ratio, "log.cleaner.min.cleanable.ratio"},
	{"min.compaction.lag.ms", kmsg.ConfigTypeLong, "0", between(0, math.MaxInt64), "log.cleaner.min.compaction.lag.ms"},
	{"min.insync.replicas", kmsg.ConfigTypeInt, "1", between(1, math.MaxInt32), "min.insync.replicas"},
	{"preallocate", kmsg.ConfigTypeBoolean, "false", oneOf("true", "false"), "log.preallocate"},
	{"remote.log.copy.disable", kmsg.ConfigTypeBoolean, "false", oneOf("true", "false"), ""},
	{"remote.log.delete.on.disable", kmsg.ConfigTypeBoolean, "false", oneOf("true", "false"), ""},
	{"remote.storage.enable", kmsg.ConfigTypeBoolean, "false", oneOf("false"), ""}, // there is none
	{"retention.bytes", kmsg.ConfigTypeLong, "-1", between(-1, math.MaxInt64), "log.retention.bytes"},
	{"retention.ms", kmsg.ConfigTypeLong, "604800000", between(-1, math.MaxInt64), "log.retention.ms"},
	{"segment.bytes", kmsg.ConfigTypeInt, "1073741824", between(1<<20, math.MaxInt32), "log.segment.bytes"},
	{"segment.index.bytes", kmsg.ConfigTypeInt, "10485760", between(4, math.MaxInt32), "log.index.size.max.bytes"},
	{"segment.jitter.ms", kmsg.ConfigTypeLong, "0", between(0, math.MaxInt64), "log.roll.jitter.ms"},
	{"segment.ms", kmsg.ConfigTypeLong, "604800000", between(1, math.MaxInt64), "log.roll.ms"},
	{"unclean.leader.election.enable", kmsg.ConfigTypeBoolean, "false", oneOf("true", "false"), "unclean.leader.election.enable"},
}

// rowNamed is the row of a config; nil if there is none.
func rowNamed(table []configRow, name string) *configRow {
	i := slices.IndexFunc(table, func(c configRow) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// checkConfigs refuses configs that do not exist or cannot have that value, and makes
// the values canonical.
func (b *Broker) checkConfigs(configs map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		c := rowNamed(topicConfigs, name)
		if c == nil {
			return fmt.Errorf("%w: there is no topic config %q", kerr.InvalidConfig, name)
		}
		value, err := c.take(configs[name])
		if err != nil {
			return fmt.Errorf("%w: %w", kerr.InvalidConfig, err)
		}
		configs[name] = value
	}
	lag := func(name string) int64 {
		value, ok := configs[name]
		if !ok {
			value = b.settings.Load().ofTopics(name)
		}
		ms, _ := strconv.ParseInt(value, 10, 64) // was checked
		return ms
	}
	if least, most := lag("min.compaction.lag.ms"), lag("max.compaction.lag.ms"); least > most {
		return fmt.Errorf("%w: min.compaction.lag.ms is %d, more than max.compaction.lag.ms, which is %d", kerr.InvalidConfig, least, most)
	}
	return nil
}

// describedConfig is a config as it is in force.
type describedConfig struct {
	name, value string
	kind        kmsg.ConfigType
	source      kmsg.ConfigSource
	found       []foundConfig // where it is looked for, in turn: the first counts
	fixed       bool          // it cannot be changed
	secret      bool          // its value is not told
}

// foundConfig is a value that a config, or what it is taken from, has somewhere.
type foundConfig struct {
	name, value string
	source      kmsg.ConfigSource
}

// takenFrom is a config with a value that was found, if there is one, or its default.
func (c *configRow) takenFrom(found []foundConfig) describedConfig {
	d := describedConfig{name: c.name, value: c.fallback, kind: c.kind, source: kmsg.ConfigSourceDefaultConfig, found: found}
	if len(found) > 0 {
		d.value, d.source = found[0].value, found[0].source
	}
	return d
}

// set is the config with a value of its own.
func (d describedConfig) set(value string, source kmsg.ConfigSource) describedConfig {
	d.value, d.source = value, source
	d.found = append([]foundConfig{{d.name, value, source}}, d.found...)
	return d
}

// describeConfigs lists all configs of a topic with the given ones set.
func (b *Broker) describeConfigs(set map[string]string) []describedConfig {
	var out []describedConfig
	for _, d := range b.settings.Load().topics {
		if v, ok := set[d.name]; ok {
			d = d.set(v, kmsg.ConfigSourceDynamicTopicConfig)
		} else if d.name == internalSegmentBytes {
			continue
		}
		out = append(out, d)
	}
	return out
}

// configure replaces the configs of a topic, durably; change is given a copy.
func (s *topicSet) configure(name string, validateOnly bool, change func(map[string]string) error) error {
	s.edit.Lock()
	defer s.edit.Unlock()
	t := s.byName(name)
	configs := map[string]string{}
	if t != nil {
		maps.Copy(configs, *t.configs.Load())
	}
	if err := change(configs); err != nil {
		return err
	}
	if name == "" {
		return fmt.Errorf("%w: the topic has no name", kerr.InvalidRequest)
	}
	if err := checkTopicName(name); err != nil {
		return err
	}
	err := s.b.checkConfigs(configs)
	switch {
	case err != nil: // said first, as Kafka does
		return err
	case t == nil:
		return kerr.UnknownTopicOrPartition
	case validateOnly:
		return nil
	}
	batch := s.b.meta.NewBatch()
	batch.PutTopic(meta.Topic{Name: t.name, ID: t.id, Partitions: int32(len(t.parts())), Made: t.made(), Configs: configs})
	if err := s.b.commitNew(batch); err != nil {
		return kerr.KafkaStorageError
	}
	t.setConfigs(s.b, configs)
	return nil
}

// namedTwice refuses configs that are named more than once, of whatever resource.
func namedTwice[C any](configs []C, name func(C) string) error {
	seen := map[string]bool{}
	for _, c := range configs {
		if seen[name(c)] {
			return fmt.Errorf("%w: %s is named twice", kerr.InvalidRequest, name(c))
		}
		seen[name(c)] = true
	}
	return nil
}
