package logbroker

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/meta"
)

// alterBroker changes configs NAME=VALUE of the broker of that name, or of all, in one
// request; -NAME deletes one.
func (w *workbench) alterBroker(node string, configs ...string) int16 {
	w.t.Helper()
	return w.alterResources(false, node, configs...).ErrorCode
}

func (w *workbench) alterResources(validateOnly bool, node string, configs ...string) kmsg.IncrementalAlterConfigsResponseResource {
	w.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version, req.ValidateOnly = 1, validateOnly
	r := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: node}
	for _, config := range configs {
		c := kmsg.IncrementalAlterConfigsRequestResourceConfig{}
		ops := map[byte]kmsg.IncrementalAlterConfigOp{'-': kmsg.IncrementalAlterConfigOpDelete, '+': kmsg.IncrementalAlterConfigOpAppend, '~': kmsg.IncrementalAlterConfigOpSubtract}
		if op, ok := ops[config[0]]; ok {
			c.Op, config = op, config[1:]
		}
		name, value, ok := strings.Cut(config, "=")
		if c.Name = name; ok {
			c.Value = &value
		}
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	return ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0]
}

// replaceBroker replaces all that is set for a broker.
func (w *workbench) replaceBroker(node string, configs ...string) int16 {
	w.t.Helper()
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version = 2
	r := kmsg.AlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: node}
	for _, config := range configs {
		name, value, _ := strings.Cut(config, "=")
		r.Configs = append(r.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: name, Value: &value})
	}
	req.Resources = append(req.Resources, r)
	return ask[*kmsg.AlterConfigsResponse](w, req).Resources[0].ErrorCode
}

// brokerConfigsOf are all configs of a broker, by name.
func (w *workbench) brokerConfigsOf(node string) map[string]kmsg.DescribeConfigsResponseResourceConfig {
	w.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms = 4, true
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: node}}
	r := ask[*kmsg.DescribeConfigsResponse](w, req).Resources[0]
	w.want(r.ErrorCode, nil)
	out := map[string]kmsg.DescribeConfigsResponseResourceConfig{}
	for _, c := range r.Configs {
		out[c.Name] = c
	}
	return out
}

// TestTopicsFollowTheBroker: what is set for the broker while it runs is in force at once
// for topics that have not set it, those made later too; what is set for this broker goes
// before what is set for all; both are there after a restart and a loss of power.
func TestTopicsFollowTheBroker(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	takes := func(want *kerr.Error) {
		t.Helper()
		w.want(w.produce(13, nil, 0, oneRecord(-1, -1, -1, false, strings.Repeat("x", 1000))).ErrorCode, want)
	}
	is := func(want string) {
		t.Helper()
		const topic = kmsg.ConfigResourceTypeTopic
		if got := w.whence(topic, "t", "max.message.bytes"); got != want {
			t.Errorf("told\n%s, want\n%s", got, want)
		}
	}
	const byDefault = "message.max.bytes=1048588 DEFAULT_CONFIG"
	takes(nil)
	w.want(w.alterBroker("", "message.max.bytes=500"), nil)
	is("500 DYNAMIC_DEFAULT_BROKER_CONFIG: message.max.bytes=500 DYNAMIC_DEFAULT_BROKER_CONFIG " + byDefault)
	takes(kerr.MessageTooLarge)
	w.want(w.alterBroker("0", "message.max.bytes=2000"), nil)
	is("2000 DYNAMIC_BROKER_CONFIG: message.max.bytes=2000 DYNAMIC_BROKER_CONFIG message.max.bytes=500 DYNAMIC_DEFAULT_BROKER_CONFIG " + byDefault)
	takes(nil)
	w.restart()
	takes(nil)
	w.want(w.alterBroker("0", "-message.max.bytes"), nil)
	takes(kerr.MessageTooLarge)
	w.losePower("boot-2")
	takes(kerr.MessageTooLarge)
	w.setConfig("max.message.bytes", "3000")
	takes(nil)
	w.unsetConfig("max.message.bytes")
	takes(kerr.MessageTooLarge)
	w.deleteTopic("t")
	w.topic("t", 1)
	takes(kerr.MessageTooLarge)
	w.want(w.replaceBroker(""), nil)
	is("1048588 DEFAULT_CONFIG: " + byDefault)
	takes(nil)
	w.restart()
	takes(nil)
}

// TestBrokerConfigsActOn: each config of the broker that topics take theirs from is what
// they act on.
func TestBrokerConfigsActOn(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	for _, test := range []struct {
		set string
		is  func(p *policy) bool
	}{
		{"log.retention.ms=5000", func(p *policy) bool { return p.retention.Age == 5*time.Second }},
		{"log.retention.ms=-7", func(p *policy) bool { return p.retention.Age < 0 }},
		{"log.retention.bytes=70", func(p *policy) bool { return p.retention.Bytes == 70 }},
		{"log.segment.bytes=2000000", func(p *policy) bool { return p.segmentBytes == 2000000 }},
		{"log.roll.ms=7000", func(p *policy) bool { return p.segmentAge == 7*time.Second }},
		{"log.flush.interval.messages=1", func(p *policy) bool { return p.flushEach }},
		{"log.flush.interval.ms=-7", func(p *policy) bool { return p.flushAge == 0 }},
		{"log.flush.interval.ms=-9223372036854775807", func(p *policy) bool { return p.flushAge == 0 }},
		{"log.flush.interval.ms=7", func(p *policy) bool { return p.flushAge == 7*time.Millisecond }},
		{"log.cleanup.policy=compact", func(p *policy) bool { return p.compacted && !p.expires }},
		{"+log.cleanup.policy=delete", func(p *policy) bool { return p.compacted && p.expires }},
		{"~log.cleanup.policy=compact", func(p *policy) bool { return !p.compacted && p.expires }},
		{"compression.type=lz4", func(p *policy) bool { return p.recodes && p.level == 9 }},
		{"compression.lz4.level=3", func(p *policy) bool { return p.level == 3 }},
		{"log.message.timestamp.type=LogAppendTime", func(p *policy) bool { return p.appendTime }},
		{"log.message.timestamp.before.max.ms=5", func(p *policy) bool { return p.beforeMs == 5 }},
		{"log.message.timestamp.after.max.ms=6", func(p *policy) bool { return p.afterMs == 6 }},
		{"log.cleaner.min.cleanable.ratio=0.25", func(p *policy) bool { return p.compaction.MinDirtyRatio == 0.25 }},
		{"log.cleaner.min.compaction.lag.ms=1000", func(p *policy) bool { return p.compaction.MinLag == time.Second }},
		{"log.cleaner.max.compaction.lag.ms=3000", func(p *policy) bool { return p.compaction.MaxLag == 3*time.Second }},
		{"log.cleaner.delete.retention.ms=4000", func(p *policy) bool { return p.compaction.DeleteRetention == 4*time.Second }},
	} {
		w.want(w.alterBroker("", test.set), nil)
		if !test.is(w.topics.byName("t").policy.Load()) {
			t.Errorf("%s: %+v", test.set, w.topics.byName("t").policy.Load())
		}
	}
	w.want(w.alterConfigs("t", kmsg.IncrementalAlterConfigOpSet, "min.compaction.lag.ms=3001"), kerr.InvalidConfig) // the broker's most is 3000
	for _, row := range topicConfigs {
		if c := brokerConfigNamed(row.broker); row.broker != "" && (c == nil || c.use != live) {
			t.Errorf("%s is taken from %s, which cannot be changed", row.name, row.broker)
		}
	}
}

// TestBrokerConfigsOfGroups: groups that have not set a config have the broker's.
func TestBrokerConfigsOfGroups(t *testing.T) {
	w := newWorkbench(t)
	w.want(w.alterBroker("0", "group.consumer.assignment.interval.ms=2000"), nil)
	got := w.whence(kmsg.ConfigResourceTypeGroupConfig, "g", "consumer.assignment.interval.ms")
	if want := "2000 DYNAMIC_BROKER_CONFIG: group.consumer.assignment.interval.ms=2000 DYNAMIC_BROKER_CONFIG group.consumer.assignment.interval.ms=1000 DEFAULT_CONFIG"; got != want {
		t.Errorf("told %s", got)
	}
}

// TestBrokerConfigsTakenAndRefused: as Apache Kafka takes and refuses them.
func TestBrokerConfigsTakenAndRefused(t *testing.T) {
	w := newWorkbench(t)
	invalid, wrong := kerr.InvalidRequest, kerr.InvalidConfig
	for _, test := range []struct {
		node, set string
		want      *kerr.Error
	}{
		{"", "log.retention.minutes=5", invalid},
		{"", "log.retention.hours=3", invalid},
		{"0", "log.roll.hours=5", invalid},
		{"0", "node.id=3", invalid},
		{"", "num.partitions=4", invalid},
		{"", "process.roles=broker", invalid},
		{"0", "listeners=x", invalid},
		{"", "-node.id", nil},
		{"", "-log.retention.hours", nil},
		{"", "-nonsense", nil},
		{"", "ssl.keystore.location=x", invalid},
		{"0", "listener.name.plain.ssl.keystore.password=x", invalid},
		{"", "log.retention.ms=x", invalid},
		{"", "log.retention.ms=", invalid},
		{"", "log.retention.ms=0", invalid},
		{"", "log.retention.ms=-2", nil},
		{"", "log.retention.ms", invalid},
		{"", "log.segment.bytes=100", invalid},
		{"", "compression.type=foo", invalid},
		{"", "log.cleanup.policy=shred", invalid},
		{"", "log.cleanup.policy=", nil},
		{"", "+log.cleanup.policy=shred", invalid},
		{"", "log.cleanup.policy=compact", nil},
		{"", "+log.cleanup.policy=", invalid},
		{"", "~log.cleanup.policy=zzz", nil},
		{"", "+log.retention.ms=1", wrong},
		{"", "+nonsense=1", wrong},
		{"", "+node.id=1", wrong},
		{"", "log.preallocate=TRUE", nil},
		{"", "transaction.partition.verification.enable=foo", invalid},
		{"", "num.io.threads=9", nil},
		{"", "num.io.threads=18", nil},
		{"", "num.io.threads=37", invalid},
		{"", "num.io.threads=8", invalid},
		{"", "num.io.threads=0", invalid},
		{"", "max.connections=0", invalid},
		{"", "max.connections.per.ip=0", invalid},
		{"", "max.connections.per.ip.overrides=foo", invalid},
		{"", "max.connections.per.ip.overrides=host:5", invalid},
		{"", "max.connections.per.ip.overrides= 1.2.3.4:5 , ::1:7,", nil},
		{"", "max.connections.per.ip=0", nil},
		{"", "max.connections.per.ip.overrides=", invalid},
		{"", "log.local.retention.ms=1000", nil},
		{"", "log.retention.ms=999", invalid},
		{"", "log.retention.ms=1000", nil},
		{"", "log.local.retention.bytes=1000", nil},
		{"", "log.retention.bytes=999", invalid},
		{"1", "log.retention.ms=5", invalid},
		{"x", "log.retention.ms=5", invalid},
		{"-1", "log.retention.ms=5", invalid},
		{" 0", "log.retention.ms=5", invalid},
		{"", "follower.replication.throttled.rate=-1", invalid},
		{"", "follower.replication.throttled.rate=5", nil},
		{"0", "nonsense=secret", nil},
		{"0", "=x", nil},
	} {
		want := int16(0)
		if test.want != nil {
			want = test.want.Code
		}
		if got := w.alterResources(false, test.node, test.set); got.ErrorCode != want {
			t.Errorf("%q %s: %v (%s), want %v", test.node, test.set, kerr.ErrorForCode(got.ErrorCode), deref(got.ErrorMessage), test.want)
		}
	}
	w.want(w.alterBroker("", "log.retention.ms=7000", "node.id=5"), invalid)
	if got := w.settings.Load().all["log.retention.ms"]; got != "1000" {
		t.Errorf("half of a request was done: log.retention.ms is %s", got)
	}
	w.want(w.replaceBroker("0", "node.id=9"), invalid)
	w.want(w.replaceBroker("7"), invalid)
}

// TestPoolsChangeByHalf: numbers of threads at most double or halve, as they are in force:
// what is set for all brokers, and is not, keeps nothing else from being changed.
func TestPoolsChangeByHalf(t *testing.T) {
	w := newWorkbench(t)
	w.want(w.alterBroker("", "num.io.threads=9"), nil)
	for _, n := range []string{"18", "36", "72"} {
		w.want(w.alterBroker("0", "num.io.threads="+n), nil)
	}
	w.want(w.alterBroker("", "message.max.bytes=1000"), nil)
	w.want(w.alterBroker("", "num.io.threads=1"), nil)
	w.want(w.alterBroker("0", "-num.io.threads"), kerr.InvalidRequest) // 72 to 1
	w.want(w.alterBroker("", "num.io.threads=40"), nil)
	w.want(w.alterBroker("0", "-num.io.threads"), nil)
	w.want(w.alterBroker("", "-num.io.threads"), kerr.InvalidRequest) // 40 to 8
	if got := w.settings.Load().number("num.io.threads"); got != 40 {
		t.Errorf("%d threads", got)
	}
}

// TestBrokerConfigsAreTold: which can be changed, which are set, and what may be a secret.
func TestBrokerConfigsAreTold(t *testing.T) {
	w := newWorkbench(t)
	if got := w.brokerConfigsOf(""); len(got) != 0 {
		t.Errorf("set for all: %v", got)
	}
	w.want(w.alterBroker("", "log.retention.ms=5", "nonsense=secret", "num.io.threads=9"), nil)
	for node, number := range map[string]int{"": 3, "0": len(brokerConfigs)} {
		all := w.brokerConfigsOf(node)
		if node == "" && len(all) != number || node == "0" && (len(all) <= 50 || len(all) > number) {
			t.Errorf("%q has %d configs", node, len(all))
		}
		secret := all["nonsense"]
		if !secret.IsSensitive || !secret.ReadOnly || secret.Value != nil || secret.ConfigType != 0 || secret.ConfigSynonyms[0].Value != nil || secret.Source != kmsg.ConfigSourceDynamicDefaultBrokerConfig {
			t.Errorf("an unknown config of %q is told as %+v", node, secret)
		}
		if c := all["log.retention.ms"]; *c.Value != "5" || c.ReadOnly || c.IsSensitive || c.ConfigType != kmsg.ConfigTypeLong {
			t.Errorf("log.retention.ms of %q is told as %+v", node, c)
		}
		if c := all["num.io.threads"]; *c.Value != "9" {
			t.Errorf("num.io.threads of %q is told as %+v", node, c)
		}
	}
	all := w.brokerConfigsOf("0")
	if c := all["log.roll.ms"]; c.Value != nil || c.ReadOnly || len(c.ConfigSynonyms) > 0 {
		t.Errorf("log.roll.ms is told as %+v", c)
	}
	if c := all["node.id"]; *c.Value != "0" || !c.ReadOnly || c.Source != kmsg.ConfigSourceStaticBrokerConfig {
		t.Errorf("node.id is told as %+v", c)
	}
	if _, ok := all["background.threads"]; ok {
		t.Error("threads that there are not are told")
	}
	const broker = kmsg.ConfigResourceTypeBroker
	if got, want := w.whence(broker, "0", "log.retention.ms"), "5 DYNAMIC_DEFAULT_BROKER_CONFIG: log.retention.ms=5 DYNAMIC_DEFAULT_BROKER_CONFIG log.retention.hours=168 DEFAULT_CONFIG"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}

// TestBrokerConfigsAreKeptWhole: nothing is done by who only asks whether it could be, nor
// where the disk refuses it; what is stored of names that mean something by now, and is no
// value of theirs, is left out.
func TestBrokerConfigsAreKeptWhole(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	is := func(want string) {
		t.Helper()
		if got := w.config("retention.ms"); got != want {
			t.Errorf("retention.ms is %s, want %s", got, want)
		}
	}
	w.want(w.alterResources(true, "", "log.retention.ms=5").ErrorCode, nil)
	w.want(w.alterResources(true, "", "log.retention.ms=0").ErrorCode, kerr.InvalidRequest)
	is("604800000")
	broken := w.breakableMeta()
	broken.On()
	w.want(w.alterBroker("", "log.retention.ms=5"), kerr.KafkaStorageError)
	is("604800000")
	w.Kill()
	w.cfg.FS = w.fs
	w.open()
	is("604800000")
	batch := w.meta.NewBatch()
	batch.PutSetting(meta.BrokerConfigs, "", []byte(`{"log.retention.ms":"soon","log.roll.ms":"7","node.id":"9"}`))
	batch.PutSetting(meta.BrokerConfigs, "1", []byte(`{"log.roll.ms":"8"}`)) // another's
	if err := w.commit(batch); err != nil {
		t.Fatal(err)
	}
	w.restart()
	is("604800000")
	if got := w.config("segment.ms"); got != "7" {
		t.Errorf("segment.ms is %s", got)
	}
}

// TestBrokerConfigsAreBounded: names that nobody knows do not fill the memory.
func TestBrokerConfigsAreBounded(t *testing.T) {
	w := newWorkbench(t)
	many := make([]string, 2)
	for i := range many {
		many[i] = fmt.Sprintf("name-%d=%s", i, strings.Repeat("x", math.MaxInt16))
	}
	w.want(w.alterBroker("", many...), kerr.PolicyViolation)
	w.want(w.alterBroker("", many[0]), nil)
	w.want(w.alterBroker("", many[1]), kerr.PolicyViolation)
	w.want(w.alterBroker("", "-name-0", many[1]), nil)
}

// TestBackupHasBrokerConfigs: a copy of the data directory has them.
func TestBackupHasBrokerConfigs(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.alterBroker("", "log.retention.ms=5"), nil)
	if _, err := w.Backup("copy"); err != nil {
		t.Fatal(err)
	}
	w.Kill()
	w.cfg.Dir = "copy"
	w.open()
	if got := w.config("retention.ms"); got != "5" {
		t.Errorf("retention.ms is %s", got)
	}
}

// TestConnectionsAreLimitedAtOnce: how many connections there may be, in all, of an address
// and of a single one, is changed while the broker runs.
func TestConnectionsAreLimitedAtOnce(t *testing.T) {
	b, addr, _ := serveSecured(t, Config{Limits: Limits{Connections: 20}}, Listener{})
	var open []*wire
	defer func() {
		for _, w := range open {
			_ = w.Close()
		}
	}()
	serves := func(config string, room bool) {
		t.Helper()
		err := b.configureBroker("", false, func(configs map[string]string) error {
			clear(configs)
			for _, c := range strings.Fields(config) {
				name, value, _ := strings.Cut(c, "=")
				configs[name] = value
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w := dialWire(t, addr)
		if err := w.metadata(); (err == nil) != room {
			t.Errorf("%s: %d connections are open, and one more: %v", config, len(open), err)
		}
		if room {
			open = append(open, w)
		}
	}
	serves("", true)
	serves("max.connections=1", false)
	serves("max.connections=2", true)
	serves("max.connections.per.ip=2", false)
	serves("max.connections.per.ip=2 max.connections.per.ip.overrides=10.0.0.1:9", false)
	serves("max.connections.per.ip=2 max.connections.per.ip.overrides=127.0.0.1:3", true)
	serves("max.connections.per.ip=9 max.connections.per.ip.overrides=127.0.0.1:3", false)
	serves("", true)
}

// TestProducersExpireAsTheBrokerSays: how long an idle producer is remembered can be changed.
func TestProducersExpireAsTheBrokerSays(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 0, false, "idle")).ErrorCode, nil)
	log := w.topics.byName("t").parts()[0].log
	w.Clean()
	w.Clean()
	if len(log.Producers()) != 1 {
		t.Fatal("it is forgotten at once")
	}
	w.want(w.alterBroker("", fmt.Sprintf("producer.id.expiration.ms=%d", w.Broker.cfg.RetentionInterval.Milliseconds())), nil)
	w.Clean()
	if n := len(log.Producers()); n != 0 {
		t.Errorf("%d producers are left", n)
	}
}

// TestProducersAreNotForgottenTooEarly: where producers are looked for less often than they
// may be forgotten, one that has just written is remembered.
func TestProducersAreNotForgottenTooEarly(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.alterBroker("", fmt.Sprintf("producer.id.expiration.ms=%d", w.Broker.cfg.RetentionInterval.Milliseconds()*4/5)), nil)
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 0, false, "once")).ErrorCode, nil)
	w.Clean()
	w.want(w.produce(13, nil, 0, oneRecord(7, 0, 0, false, "once")).ErrorCode, nil)
	if got := w.values(0, false); len(got) != 1 {
		t.Errorf("read %q", got)
	}
	w.Clean()
	if n := len(w.topics.byName("t").parts()[0].log.Producers()); n != 0 {
		t.Errorf("%d producers are left", n)
	}
}

// TestCompactionAsTheBrokerSays: how often it is looked for, and with what memory, can be
// changed; that does not put off what is too old.
func TestCompactionAsTheBrokerSays(t *testing.T) {
	w := newWorkbench(t)
	is := func(pause time.Duration, bytes int64) {
		t.Helper()
		if s := w.settings.Load(); s.compactionInterval != pause || s.compactionBytes != bytes {
			t.Errorf("looked for every %v with %d bytes, want %v and %d", s.compactionInterval, s.compactionBytes, pause, bytes)
		}
	}
	is(15*time.Second, 16<<20)
	w.want(w.alterBroker("", "log.cleaner.backoff.ms=2000", "log.cleaner.dedupe.buffer.size=2000000"), nil)
	is(2*time.Second, 2000000)
	w.want(w.alterBroker("", "log.cleaner.backoff.ms=0"), nil)
	is(time.Millisecond, 2000000)
	w.want(w.alterBroker("", "log.cleaner.backoff.ms=9223372036854775807", "-log.cleaner.dedupe.buffer.size"), nil)
	is(w.Broker.cfg.RetentionInterval, 16<<20)
	w.want(w.alterBroker("", "log.cleaner.dedupe.buffer.size=1048576"), kerr.InvalidRequest)
	w.topicWith("cleanup.policy=compact", "internal.segment.bytes=14", "min.cleanable.dirty.ratio=0")
	w.want(w.alterBroker("", "log.cleaner.dedupe.buffer.size=1048577"), nil)
	for i := range 5 {
		w.want(w.put(fmt.Sprint("k=", i)).ErrorCode, nil)
	}
	w.Clean()
	if got := w.records(); len(got) > 2 {
		t.Errorf("not compacted: %q", got)
	}
}
