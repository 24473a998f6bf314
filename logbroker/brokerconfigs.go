package logbroker

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
)

// brokerSettings are the configs of the broker as they are in force, and what comes of
// them. They are replaced as a whole, never changed: who serves a request reads them
// without a lock.
type brokerSettings struct {
	// own was set for this broker while it ran, all for every broker; static is what
	// Config says where it is not Kafka's default.
	own, all, static map[string]string

	topics, groups []describedConfig // as they are where a topic, or a group, has not set them
	connections    int               // at once
	perHost        int               // of one address
	hosts          map[string]int    // of single addresses, instead
	producerExpiry time.Duration
	// compactionInterval is the time between two looks for what is to be compacted,
	// compactionBytes the memory for it.
	compactionInterval time.Duration
	compactionBytes    int64
}

// maxBrokerConfigBytes bounds the names and values that are set for a broker, for it takes
// names that it does not know.
const maxBrokerConfigBytes = 64 << 10

func newBrokerSettings(own, all, static map[string]string) *brokerSettings {
	s := &brokerSettings{own: own, all: all, static: static}
	for _, row := range topicConfigs {
		d := row.takenFrom(s.find(row.broker))
		if d.name == "retention.ms" && strings.HasPrefix(d.value, "-") {
			d.value = "-1" // Kafka takes any number below for no end
		}
		s.topics = append(s.topics, d)
	}
	for _, row := range groupConfigTable {
		s.groups = append(s.groups, row.takenFrom(s.find(row.broker)))
	}
	s.connections, s.perHost = int(s.number("max.connections")), int(s.number("max.connections.per.ip"))
	s.hosts, _ = parseHostLimits(s.value("max.connections.per.ip.overrides")) // was checked
	s.producerExpiry = time.Duration(s.number("producer.id.expiration.ms")) * time.Millisecond
	// What is too old is looked for on the way, and must not come too late.
	pause := max(min(s.number("log.cleaner.backoff.ms"), s.number("log.retention.check.interval.ms")), 1)
	s.compactionInterval, s.compactionBytes = time.Duration(pause)*time.Millisecond, s.number("log.cleaner.dedupe.buffer.size")
	return s
}

// find is where the value of a config of the broker is looked for, in turn: what was set
// for this one, and for all, what Config says, and the default. What says the same in
// other units counts as it does for Kafka, only behind the config itself.
func (s *brokerSettings) find(name string) (out []foundConfig) {
	if name == "" {
		return nil
	}
	names := sameConfigs[name]
	if names == nil {
		names = []string{name}
	}
	add := func(set map[string]string, source kmsg.ConfigSource) {
		for _, name := range names {
			if v, ok := set[name]; ok {
				out = append(out, foundConfig{name, v, source})
			}
		}
	}
	add(s.own, kmsg.ConfigSourceDynamicBrokerConfig)
	add(s.all, kmsg.ConfigSourceDynamicDefaultBrokerConfig)
	add(s.static, kmsg.ConfigSourceStaticBrokerConfig)
	for _, name := range names {
		if c := brokerConfigNamed(name); c != nil && (c.fallback != "" || !isNumber(c.kind)) {
			out = append(out, foundConfig{name, c.fallback, kmsg.ConfigSourceDefaultConfig})
		}
	}
	i := slices.IndexFunc(out, func(f foundConfig) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return out[i:]
}

// value is what a config of the broker is; empty if it is not set and has no default.
func (s *brokerSettings) value(name string) string {
	if found := s.find(name); len(found) > 0 {
		return found[0].value
	}
	return ""
}

func (s *brokerSettings) number(name string) int64 {
	n, _ := strconv.ParseInt(s.value(name), 10, 64) // was checked
	return n
}

// ofTopics is the value of a config of topics where a topic has not set it.
func (s *brokerSettings) ofTopics(name string) string {
	i := slices.IndexFunc(s.topics, func(d describedConfig) bool { return d.name == name })
	return s.topics[i].value
}

// connectionsOf is how many connections an address may have at once.
func (s *brokerSettings) connectionsOf(host string) int {
	if n, ok := s.hosts[host]; ok {
		return n
	}
	return s.perHost
}

// describe lists the configs of this broker. Those that mean nothing here are listed where
// they are set, and so are those that nobody knows: what they hold may be a secret.
func (s *brokerSettings) describe() (out []describedConfig) {
	for _, c := range brokerConfigs {
		_, own := s.own[c.name]
		_, all := s.all[c.name]
		if !own && !all && c.use >= kept {
			continue
		}
		d := c.takenFrom(s.find(c.name))
		d.fixed = c.use == fixed
		out = append(out, d)
	}
	set := maps.Clone(s.all)
	maps.Copy(set, s.own)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if brokerConfigNamed(name) == nil {
			out = append(out, unknownConfig(name, s.find(name)))
		}
	}
	return out
}

// describeAll lists what is set for all brokers.
func (s *brokerSettings) describeAll() (out []describedConfig) {
	for _, name := range slices.Sorted(maps.Keys(s.all)) {
		found := []foundConfig{{name, s.all[name], kmsg.ConfigSourceDynamicDefaultBrokerConfig}}
		if c := brokerConfigNamed(name); c != nil {
			out = append(out, c.takenFrom(found))
		} else {
			out = append(out, unknownConfig(name, found))
		}
	}
	return out
}

func unknownConfig(name string, found []foundConfig) describedConfig {
	d := (&configRow{name: name}).takenFrom(found)
	d.fixed, d.secret = true, true
	return d
}

// staticConfigs are what Config comes to under Kafka's names, without what is Kafka's
// default.
func staticConfigs(cfg *Config) map[string]string {
	static := map[string]string{
		"auto.create.topics.enable":                strconv.FormatBool(cfg.AutoCreateTopics),
		"log.dir":                                  cfg.Dir,
		"log.dirs":                                 cfg.Dir,
		"offsets.topic.replication.factor":         "1",
		"transaction.state.log.min.isr":            "1",
		"transaction.state.log.replication.factor": "1",
	}
	number := func(name string, n int64) { static[name] = strconv.FormatInt(n, 10) }
	number("broker.id", int64(cfg.NodeID))
	number("connections.max.idle.ms", cfg.patience.idle.Milliseconds())
	number("group.initial.rebalance.delay.ms", cfg.InitialRebalanceDelay.Milliseconds())
	number("log.cleaner.backoff.ms", cfg.CompactionInterval.Milliseconds())
	number("log.cleaner.dedupe.buffer.size", cfg.Limits.CompactionBytes)
	number("log.retention.check.interval.ms", cfg.RetentionInterval.Milliseconds())
	number("log.segment.bytes", cfg.SegmentBytes)
	number("max.connections", int64(cfg.Limits.Connections))
	number("max.incremental.fetch.session.cache.slots", int64(cfg.Limits.FetchSessions))
	number("message.max.bytes", int64(cfg.Limits.BatchBytes))
	number("node.id", int64(cfg.NodeID))
	number("num.partitions", int64(cfg.DefaultPartitions))
	number("offset.metadata.max.bytes", maxOffsetMetadata)
	number("socket.request.max.bytes", int64(cfg.Limits.ProduceBytes))
	if cfg.Limits.ConnectionsPerHost < cfg.Limits.Connections {
		number("max.connections.per.ip", int64(cfg.Limits.ConnectionsPerHost))
	}
	maps.DeleteFunc(static, func(name, value string) bool { return brokerConfigNamed(name).fallback == value })
	return static
}

// openSettings reads what was set while the broker ran. What it does not take any more is
// left out: an older one did not know its name, and took anything.
func (b *Broker) openSettings() error {
	own, all := map[string]string{}, map[string]string{}
	err := b.meta.Settings(meta.BrokerConfigs, func(node string, value []byte) error {
		var configs map[string]string
		if err := json.Unmarshal(value, &configs); err != nil {
			return fmt.Errorf("configs of broker %q: %w", node, err)
		}
		maps.DeleteFunc(configs, func(name, value string) bool {
			_, err := checkBrokerConfig(name, value)
			if err != nil {
				b.log.Warn("what was set for a config of the broker is not taken any more; set it anew, or delete it", "config", name)
			}
			return err != nil
		})
		switch node {
		case "":
			all = configs
		case strconv.Itoa(int(b.cfg.NodeID)):
			own = configs
		}
		return nil
	})
	b.settings.Store(newBrokerSettings(own, all, staticConfigs(&b.cfg)))
	return err
}

// checkNode refuses the name of any other broker than this.
func (b *Broker) checkNode(name string) error {
	if n, err := strconv.ParseInt(name, 10, 32); err != nil || int32(n) != b.cfg.NodeID {
		return fmt.Errorf("%w: there is no broker %q; the only one is %d", kerr.InvalidRequest, name, b.cfg.NodeID)
	}
	return nil
}

// configureBroker replaces what is set for this broker, or, without a name, for all,
// durably, and puts it in force; change is given a copy.
func (b *Broker) configureBroker(name string, validateOnly bool, change func(map[string]string) error) error {
	// No topic is made, or configured, meanwhile: it would be so by what was.
	b.topics.edit.Lock()
	defer b.topics.edit.Unlock()
	was := b.settings.Load()
	set := maps.Clone(was.all)
	node := ""
	if name != "" {
		if err := b.checkNode(name); err != nil {
			return err
		}
		set, node = maps.Clone(was.own), strconv.Itoa(int(b.cfg.NodeID))
	}
	if err := change(set); err != nil {
		return err
	}
	if err := checkSet(set); err != nil {
		return err
	}
	next := newBrokerSettings(set, was.all, was.static)
	if name == "" {
		next = newBrokerSettings(was.own, set, was.static)
	}
	if err := next.check(was); err != nil || validateOnly {
		return err
	}
	batch := b.meta.NewBatch()
	if len(set) == 0 {
		batch.DeleteSetting(meta.BrokerConfigs, node)
	} else {
		value, err := json.Marshal(set)
		if err != nil {
			return err
		}
		batch.PutSetting(meta.BrokerConfigs, node, value)
	}
	if err := b.commitNew(batch); err != nil {
		return kerr.KafkaStorageError
	}
	b.settings.Store(next)
	for _, t := range b.topics.sorted() {
		t.setConfigs(b, *t.configs.Load())
	}
	return nil
}

// checkSet refuses what cannot be set while the broker runs, and makes the values
// canonical. What contradicts other values is refused by check.
func checkSet(set map[string]string) error {
	size := 0
	for _, name := range slices.Sorted(maps.Keys(set)) {
		value, err := checkBrokerConfig(name, set[name])
		if err != nil {
			return fmt.Errorf("%w: %w", kerr.InvalidRequest, err)
		}
		set[name] = value
		size += len(name) + len(value)
	}
	if size > maxBrokerConfigBytes {
		return fmt.Errorf("%w: the configs of a broker have %d bytes, more than %d: delete some", kerr.PolicyViolation, size, maxBrokerConfigBytes)
	}
	return nil
}

// checkBrokerConfig makes a value canonical, and refuses it if it cannot be set while the
// broker runs. Names that nobody knows are taken, as by Kafka.
func checkBrokerConfig(name, value string) (string, error) {
	c := brokerConfigNamed(name)
	switch {
	case c != nil && c.use != fixed:
		return c.take(value)
	case c != nil || fixedConfigs[name] || strings.HasPrefix(name, listenerPrefix):
		return "", fmt.Errorf("%s is given when the broker starts; it cannot be changed while it runs", name)
	}
	return value, nil
}

// check refuses values that contradict each other, or what was.
func (s *brokerSettings) check(was *brokerSettings) error {
	for _, c := range brokerConfigs {
		if c.use != pools {
			continue
		}
		if n, old := s.number(c.name), was.number(c.name); n != old && (n < old/2 || n > old*2) {
			return fmt.Errorf("%w: %s is %d now; it takes %d to %d", kerr.InvalidRequest, c.name, old, max(old/2, 1), old*2)
		}
	}
	if s.perHost == 0 && len(s.hosts) == 0 {
		return fmt.Errorf("%w: max.connections.per.ip is 0 and max.connections.per.ip.overrides empty, so that nobody could connect", kerr.InvalidRequest)
	}
	for _, unit := range []string{"ms", "bytes"} {
		keep, _ := strconv.ParseInt(s.ofTopics("retention."+unit), 10, 64)        // was checked
		local, _ := strconv.ParseInt(s.ofTopics("local.retention."+unit), 10, 64) // was checked
		if keep >= 0 && local != -2 && (local == -1 || local > keep) {
			return fmt.Errorf("%w: log.local.retention.%s is %d, more than log.retention.%s, which is %d", kerr.InvalidRequest, unit, local, unit, keep)
		}
	}
	return nil
}

// configOf is the row of a config of a resource; nil if there is none.
func configOf(kind kmsg.ConfigResourceType, name string) *configRow {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		return rowNamed(topicConfigs, name)
	case kmsg.ConfigResourceTypeGroupConfig:
		return rowNamed(groupConfigTable, name)
	case kmsg.ConfigResourceTypeBroker:
		if c := brokerConfigNamed(name); c != nil {
			return &c.configRow
		}
	}
	return nil
}
