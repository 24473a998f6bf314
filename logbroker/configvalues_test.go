package logbroker

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterConfigs changes configs NAME=VALUE of a topic in one request.
func (w *workbench) alterConfigs(topic string, op kmsg.IncrementalAlterConfigOp, configs ...string) int16 {
	w.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for _, config := range configs {
		name, value, _ := strings.Cut(config, "=")
		r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Op: op, Value: &value})
	}
	req.Resources = append(req.Resources, r)
	return ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0].ErrorCode
}

// config is a config of topic "t" as DescribeConfigs tells it, "(none)" if it does not.
func (w *workbench) config(name string) string {
	w.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 4
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, "t", []string{name}
	req.Resources = append(req.Resources, r)
	configs := ask[*kmsg.DescribeConfigsResponse](w, req).Resources[0].Configs
	if len(configs) == 0 {
		return "(none)"
	}
	return *configs[0].Value
}

// TestListsOfConfigsChange: words are added and taken as Kafka does it.
func TestListsOfConfigsChange(t *testing.T) {
	const set, add, take = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	w := newWorkbench(t)
	w.topic("t", 1)
	for _, step := range []struct {
		op    kmsg.IncrementalAlterConfigOp
		value string
		code  *kerr.Error
		want  string
	}{
		{add, "compact,delete", nil, "delete,compact"},
		{take, "compact,delete", nil, ""},
		{add, "compact", nil, "compact"},
		{add, "compact", nil, "compact"},
		{add, " delete ", nil, "compact,delete"},
		{take, "shred", nil, "compact,delete"},
		{add, "shred", kerr.InvalidConfig, "compact,delete"},
		{add, "delete,delete", nil, "compact,delete"},
		{take, " compact , shred", nil, "compact,delete"},
		{take, "", nil, "compact,delete"},
		{add, "", kerr.InvalidConfig, "compact,delete"},
		{set, "compact,compact", nil, "compact"},
		{set, " delete , compact ", nil, "delete,compact"},
	} {
		w.want(w.alterConfigs("t", step.op, "cleanup.policy="+step.value), step.code)
		if got := w.config("cleanup.policy"); got != step.want {
			t.Fatalf("after operation %d with %q: %q, want %q", step.op, step.value, got, step.want)
		}
	}
	w.want(w.alterConfigs("t", add, "retention.ms=1"), kerr.InvalidConfig)
}

// TestConfigValuesAsKafka: what Kafka takes is taken, acted on and described without
// what does not matter; what it refuses is refused.
func TestConfigValuesAsKafka(t *testing.T) {
	const set = kmsg.IncrementalAlterConfigOpSet
	w := newWorkbench(t)
	w.topic("t", 1)
	if got := w.config("internal.segment.bytes"); got != "(none)" {
		t.Errorf("internal.segment.bytes is %s", got)
	}
	for config, want := range map[string]string{
		"preallocate=TRUE": "true", "preallocate= fAlse ": "false", "retention.ms= 5 ": "5", "retention.ms=+5": "5", "retention.ms=\t7\n": "7",
		"compression.type= gzip ": "gzip", "message.timestamp.type= CreateTime ": "CreateTime", "min.cleanable.dirty.ratio= 0.25 ": "0.25",
		"segment.bytes=1048576": "1048576", "segment.bytes=2147483647": "2147483647", "internal.segment.bytes=0": "0",
	} {
		name, _, _ := strings.Cut(config, "=")
		w.want(w.alterConfigs("t", set, config), nil)
		if got := w.config(name); got != want {
			t.Errorf("%q is described as %q", config, got)
		}
	}
	for _, config := range []string{"preallocate=yes", "compression.type=GZIP", "retention.ms=0x5", "retention.ms= ", "min.cleanable.dirty.ratio=half"} {
		w.want(w.alterConfigs("t", set, config), kerr.InvalidConfig)
	}
	w.want(w.alterConfigs("t", set, "retention.ms= 5000 "), nil)
	if got := w.topics.byName("t").policy.Load().retention.Age.Milliseconds(); got != 5000 {
		t.Errorf("retention is %d ms", got)
	}
	w.want(w.alterConfigs("t", set, "min.compaction.lag.ms=100", "max.compaction.lag.ms=10"), kerr.InvalidConfig)
	w.want(w.alterConfigs("t", set, "min.compaction.lag.ms=10", "max.compaction.lag.ms=10"), nil)
	w.want(w.alterConfigs("t", set, "min.compaction.lag.ms=11"), kerr.InvalidConfig)
	value := "100"
	ct := kmsg.NewCreateTopicsRequestTopic()
	ct.Topic, ct.NumPartitions, ct.ReplicationFactor = "u", 1, 1
	ct.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "max.compaction.lag.ms", Value: &value}}
	w.want(w.create(true, ct)[0], nil)
	ct.Configs = append(ct.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: "min.compaction.lag.ms", Value: new(string)})
	*ct.Configs[1].Value = "101"
	w.want(w.create(true, ct)[0], kerr.InvalidConfig)
}

// TestThrottledReplicas: which replicas are throttled is checked as Kafka 4.3.1 does it.
func TestThrottledReplicas(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	for _, side := range []string{"leader", "follower"} {
		name := side + ".replication.throttled.replicas="
		for _, value := range []string{"*", " *", "", " ", "1:2", " 1:2", "1:2,3:4", "1:2, 3:4", "1:2,", ",1:2", ",", "1:2,,3:4", "00:1", "99999999999:1"} {
			if code := w.alterConfigs("t", kmsg.IncrementalAlterConfigOpSet, name+value); code != 0 {
				t.Errorf("%s%q is refused: %v", name, value, kerr.ErrorForCode(code))
			}
		}
		for _, value := range []string{"1", "a:b", "*,1:2", "1:2,*", "-1:2", "+1:2", "1:2:3", "1 : 2", "none", "none,1:2"} {
			if code := w.alterConfigs("t", kmsg.IncrementalAlterConfigOpSet, name+value); code != kerr.InvalidConfig.Code {
				t.Errorf("%s%q is answered with %v", name, value, kerr.ErrorForCode(code))
			}
		}
	}
}

// TestResourceNamedTwice: what is to become of it nobody knows, whatever it is; the
// others of the request are changed.
func TestResourceNamedTwice(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.topic("u", 1)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	for _, r := range []struct {
		kind         kmsg.ConfigResourceType
		name, config string
	}{
		{kmsg.ConfigResourceTypeTopic, "t", "retention.ms"},
		{kmsg.ConfigResourceTypeTopic, "u", "retention.ms"},
		{kmsg.ConfigResourceTypeTopic, "t", "segment.ms"},
		{kmsg.ConfigResourceTypeTopic, "nowhere", "retention.ms"},
		{kmsg.ConfigResourceTypeTopic, "nowhere", "retention.ms"},
		{kmsg.ConfigResourceTypeGroupConfig, "t", "consumer.session.timeout.ms"},
		{kmsg.ConfigResourceTypeBroker, "", "x"},
		{kmsg.ConfigResourceTypeBroker, "", "x"},
	} {
		value := "50000"
		res := kmsg.NewIncrementalAlterConfigsRequestResource()
		res.ResourceType, res.ResourceName = r.kind, r.name
		res.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: r.config, Value: &value}}
		req.Resources = append(req.Resources, res)
	}
	twice := kerr.InvalidRequest
	resources := ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources
	for i, want := range []*kerr.Error{twice, nil, twice, twice, twice, nil, twice, twice} {
		w.want(resources[i].ErrorCode, want)
		if want != nil && !strings.Contains(deref(resources[i].ErrorMessage), "twice") {
			t.Errorf("%d is told %q", i, deref(resources[i].ErrorMessage))
		}
	}
	if got := w.config("retention.ms"); got != "604800000" {
		t.Errorf("retention.ms is %s", got)
	}
	if got := w.topics.byName("u").policy.Load().retention.Age.Milliseconds(); got != 50000 {
		t.Errorf("retention.ms of the other topic is %d", got)
	}

	all := kmsg.NewPtrAlterConfigsRequest()
	all.Version = 2
	for _, name := range []string{"t", "u", "t"} {
		value := "60000"
		all.Resources = append(all.Resources, kmsg.AlterConfigsRequestResource{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name, Configs: []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &value}},
		})
	}
	altered := ask[*kmsg.AlterConfigsResponse](w, all).Resources
	for i, want := range []*kerr.Error{twice, nil, twice} {
		w.want(altered[i].ErrorCode, want)
	}
}

// TestConfigNamedTwice: which of the two is meant nobody knows, of a topic that is
// not there either.
func TestConfigNamedTwice(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	for _, topic := range []string{"t", "nowhere"} {
		for op := range kmsg.IncrementalAlterConfigOp(4) {
			w.want(w.alterConfigs(topic, op, "retention.ms=1000", "retention.ms=1000"), kerr.InvalidRequest)
		}
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Version = 2
		value := "1000"
		config := kmsg.AlterConfigsRequestResourceConfig{Name: "retention.ms", Value: &value}
		req.Resources = []kmsg.AlterConfigsRequestResource{{
			ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: topic, Configs: []kmsg.AlterConfigsRequestResourceConfig{config, config},
		}}
		w.want(ask[*kmsg.AlterConfigsResponse](w, req).Resources[0].ErrorCode, kerr.InvalidRequest)
	}
	if got := w.config("retention.ms"); got != "604800000" {
		t.Errorf("retention.ms is %s", got)
	}
}

// TestRefusedConfigsSayWhatIsTaken: who gives a config what it cannot have is told what it
// can, of every config of topics and groups.
func TestRefusedConfigsSayWhatIsTaken(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	refused := func(kind kmsg.ConfigResourceType, resource, name, value string) string {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version = 1
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kind, resource
		r.Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Value: &value}}
		req.Resources = append(req.Resources, r)
		got := ask[*kmsg.IncrementalAlterConfigsResponse](w, req).Resources[0]
		w.want(got.ErrorCode, kerr.InvalidConfig)
		return *got.ErrorMessage
	}
	const topic, group = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeGroupConfig
	for config, want := range map[string]string{
		"segment.bytes=20000":                         "segment.bytes is 20000; it takes 1048576 to 2147483647",
		"retention.ms= 7d":                            `retention.ms is " 7d"; it takes -1 to 9223372036854775807`,
		"cleanup.policy=shred":                        `cleanup.policy is "shred"; it takes a list of delete, compact`,
		"message.timestamp.type=Now":                  `message.timestamp.type is "Now"; it takes CreateTime or LogAppendTime`,
		"preallocate=yes":                             `preallocate is "yes"; it takes true or false`,
		"compression.gzip.level=0":                    "compression.gzip.level is 0; it takes -1, or 1 to 9",
		"min.cleanable.dirty.ratio=2":                 "min.cleanable.dirty.ratio is 2; it takes 0 to 1",
		"leader.replication.throttled.replicas=first": `leader.replication.throttled.replicas is "first"; it takes *, or a list of PARTITION:BROKER`,
	} {
		name, value, _ := strings.Cut(config, "=")
		if got := refused(topic, "t", name, value); got != want {
			t.Errorf("%s: told %q, want %q", config, got, want)
		}
	}
	if got, want := refused(group, "g", "consumer.session.timeout.ms", "1"), "consumer.session.timeout.ms is 1; it takes 45000 to 60000"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	for _, c := range topicConfigs {
		if got := refused(topic, "t", c.name, "?"); c.takes.told == "" || !strings.HasSuffix(got, "it takes "+c.takes.told) {
			t.Errorf("%s: told %q", c.name, got)
		}
	}
}

// whence is a config as DescribeConfigs tells it, and where it was looked for.
func (w *workbench) whence(kind kmsg.ConfigResourceType, resource, name string) string {
	w.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms = 4, true
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: resource, ConfigNames: []string{name}}}
	configs := ask[*kmsg.DescribeConfigsResponse](w, req).Resources[0].Configs
	if len(configs) == 0 {
		return "(none)"
	}
	value := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	c := configs[0]
	out := value(c.Value) + " " + c.Source.String() + ":"
	for _, s := range c.ConfigSynonyms {
		out += " " + s.Name + "=" + value(s.Value) + " " + s.Source.String()
	}
	return out
}

// TestWhereConfigsAreFrom: who asks is told what is set, what the configuration of the broker
// says, and the default, in the order in which they are looked at.
func TestWhereConfigsAreFrom(t *testing.T) {
	w := newWorkbench(t)
	w.cfg.SegmentBytes = 2 << 20
	w.restart()
	w.topic("t", 1)
	const topic, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	expect := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("told\n%s, want\n%s", got, want)
		}
	}
	expect(w.whence(topic, "t", "segment.bytes"), "2097152 STATIC_BROKER_CONFIG: log.segment.bytes=2097152 STATIC_BROKER_CONFIG log.segment.bytes=1073741824 DEFAULT_CONFIG")
	expect(w.whence(topic, "t", "retention.ms"), "604800000 DEFAULT_CONFIG:")
	expect(w.whence(topic, "t", "segment.ms"), "604800000 DEFAULT_CONFIG:")
	expect(w.whence(broker, "0", "num.partitions"), "1 DEFAULT_CONFIG: num.partitions=1 DEFAULT_CONFIG")
	expect(w.whence(broker, "0", "auto.create.topics.enable"), "false STATIC_BROKER_CONFIG: auto.create.topics.enable=false STATIC_BROKER_CONFIG auto.create.topics.enable=true DEFAULT_CONFIG")
	w.want(w.alterConfigs("t", kmsg.IncrementalAlterConfigOpSet, "segment.bytes=5000000", "retention.ms=7"), nil)
	expect(w.whence(topic, "t", "segment.bytes"), "5000000 DYNAMIC_TOPIC_CONFIG: segment.bytes=5000000 DYNAMIC_TOPIC_CONFIG log.segment.bytes=2097152 STATIC_BROKER_CONFIG log.segment.bytes=1073741824 DEFAULT_CONFIG")
	expect(w.whence(topic, "t", "retention.ms"), "7 DYNAMIC_TOPIC_CONFIG: retention.ms=7 DYNAMIC_TOPIC_CONFIG")
}

// TestConfigsAreDocumented: who asks is told in a sentence what each config does, of
// topics, of groups and of the broker, and who does not is not.
func TestConfigsAreDocumented(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	w.want(w.alterBroker("", "num.io.threads=9", "nonsense=1"), nil)
	const topic, group, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeGroupConfig, kmsg.ConfigResourceTypeBroker
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeDocumentation = 4, true
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: topic, ResourceName: "t"}, {ResourceType: group, ResourceName: "g"}, {ResourceType: broker, ResourceName: "0"}, {ResourceType: broker}}
	said := map[string]string{}
	for _, r := range ask[*kmsg.DescribeConfigsResponse](w, req).Resources {
		for _, c := range r.Configs {
			if (c.Documentation == nil) != (c.Name == "nonsense") {
				t.Errorf("%s of %q: documentation %q", c.Name, r.ResourceName, deref(c.Documentation))
			}
			said[c.Name] = deref(c.Documentation)
		}
	}
	if got, want := said["log.retention.ms"], "For topics that do not set retention.ms: how long records are kept, by their own time; -1 is for ever."; got != want {
		t.Errorf("log.retention.ms: %q, want %q", got, want)
	}
	req.IncludeDocumentation = false
	for _, r := range ask[*kmsg.DescribeConfigsResponse](w, req).Resources {
		for _, c := range r.Configs {
			if c.Documentation != nil {
				t.Errorf("%s is documented for who did not ask", c.Name)
			}
		}
	}
	names := map[string]bool{}
	for _, table := range [][]configRow{topicConfigs, groupConfigTable} {
		for _, c := range table {
			names[c.name] = true
		}
	}
	for _, c := range brokerConfigs {
		names[c.name] = true
	}
	for name := range names {
		if text := deref(documentation(name)); !strings.HasSuffix(text, ".") || strings.Contains(text, ": :") {
			t.Errorf("%s is documented as %q", name, text)
		}
	}
	for name := range configDocs {
		if !names[name] {
			t.Errorf("there is no config %s, but a documentation of it", name)
		}
	}
}

// TestConfigsHaveASize: no name and no value is longer than answers of all versions can
// tell, however it comes, and a list of many words is not looked through for each.
func TestConfigsHaveASize(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith()
	fits, long := strings.Repeat("1:1,", math.MaxInt16/4), strings.Repeat("1:1,", math.MaxInt16/4+1)
	const topic = "leader.replication.throttled.replicas"
	w.want(w.alterConfigs("t", kmsg.IncrementalAlterConfigOpSet, topic+"="+fits), nil)
	w.want(w.alterConfigs("t", kmsg.IncrementalAlterConfigOpSet, topic+"="+long), kerr.InvalidConfig)
	w.want(w.alterConfigs("t", kmsg.IncrementalAlterConfigOpAppend, topic+"="+long), kerr.InvalidConfig)
	w.want(w.alterConfigs("t", kmsg.IncrementalAlterConfigOpSubtract, topic+"="+long), nil)
	w.want(w.alterBroker("", "config.providers="+long), kerr.InvalidConfig)
	w.want(w.replaceBroker("", "config.providers="+long), kerr.InvalidConfig)
	w.want(w.alterBroker("", long+"=1"), kerr.InvalidConfig)
	w.want(w.alterBroker("", "-"+long), nil)

	words := make([]string, 1_000_000)
	for i := range words {
		words[i] = strconv.FormatInt(int64(i), 36)
	}
	w.want(w.alterBroker("", "config.providers="+strings.Join(words[:5000], ",")), nil)
	w.want(w.alterBroker("", "~config.providers="+strings.Join(words[2000:], ",")), nil)
	if got, want := w.settings.Load().all["config.providers"], strings.Join(words[:2000], ","); got != want {
		t.Errorf("%d bytes are left, want %d", len(got), len(want))
	}

	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 3
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker}}
	w.want(w.alterBroker("", "config.providers="+fits), nil)
	told := ask[*kmsg.DescribeConfigsResponse](w, req)
	back := kmsg.NewPtrDescribeConfigsResponse()
	back.Version = 3
	if err := back.ReadFrom(told.AppendTo(nil)); err != nil {
		t.Error(err)
	}
}

// TestRefusedConfigsAreToldInShort: what is wrong with a long value can be told in answers
// of all versions.
func TestRefusedConfigsAreToldInShort(t *testing.T) {
	w := newWorkbench(t)
	for _, set := range []string{"log.retention.ms=" + strings.Repeat("\x01", 32000), "log.retention.ms=" + strings.Repeat("é", 16000)} {
		told := deref(w.alterResources(false, "", set).ErrorMessage)
		if len(told) > math.MaxInt16 || !utf8.ValidString(told) || !strings.Contains(told, "log.retention.ms") {
			t.Errorf("%d bytes: %.40q", len(told), told)
		}
	}
}
