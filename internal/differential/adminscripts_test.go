package differential

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// adminTalk is one broker that is told a script.
type adminTalk struct {
	*broker
	prefix string
}

func (a *adminTalk) name(word string) string {
	if word == "" || word == ".." {
		return word
	}
	return a.prefix + word
}

// place reads topic/partition.
func (a *adminTalk) place(word string) (topic string, partition int32) {
	name, number, _ := strings.Cut(word, "/")
	n, err := strconv.Atoi(number)
	if err != nil {
		a.t.Fatalf("%q is no partition", word)
	}
	return a.name(name), int32(n)
}

func (a *adminTalk) number(word string) int64 {
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		a.t.Fatal(err)
	}
	return n
}

// told puts what was answered in an order of its own: Kafka keeps some of it in sets.
func (a *adminTalk) told(rows []string) string {
	for i := range rows {
		rows[i] = strings.ReplaceAll(rows[i], a.prefix, "")
	}
	slices.Sort(rows)
	return fmt.Sprintf("%q", rows)
}

func (a *adminTalk) do(line string) string {
	f := strings.Fields(line)
	if do := map[string]func([]string) []string{
		"create": a.create, "delete": a.remove, "grow": a.grow, "alter": a.alter, "change": a.change, "purge": a.purge, "elect": a.elect,
		"limit": a.limit, "user": a.user, "who": a.who, "commit": a.commit, "drop": a.drop, "forget": a.forget, "configs": a.configs,
		"dirs": a.dirs, "pages": a.pages,
	}[f[0]]; do != nil {
		return a.told(do(f[1:]))
	}
	a.t.Fatalf("%q is no line of a script", line)
	return ""
}

func (a *adminTalk) create(names []string) (out []string) {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 5000
	for _, n := range names {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = a.name(n), 1, 1
		req.Topics = append(req.Topics, t)
	}
	for _, t := range a.ask(req).(*kmsg.CreateTopicsResponse).Topics {
		if t.ErrorCode == 0 {
			a.await(t.Topic, true)
		}
		out = append(out, t.Topic+" "+codeName(t.ErrorCode))
	}
	return out
}

// id is that of a topic; another than any has of one that is not there.
func (a *adminTalk) id(topic string) [16]byte {
	if topic == "" {
		return [16]byte{}
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Version = 12
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	if got := a.ask(req).(*kmsg.MetadataResponse).Topics[0]; got.ErrorCode == 0 {
		return got.TopicID
	}
	return [16]byte{9, 9, 9}
}

func (a *adminTalk) remove(words []string) (out []string) {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis = 6, 5000
	for _, w := range words {
		how, word, _ := strings.Cut(w, ":")
		name := a.name(word)
		t := kmsg.NewDeleteTopicsRequestTopic()
		if how == "name" || how == "both" {
			t.Topic = &name
		}
		if how == "id" || how == "both" {
			t.TopicID = a.id(name)
		}
		req.Topics = append(req.Topics, t)
	}
	for _, t := range a.ask(req).(*kmsg.DeleteTopicsResponse).Topics {
		name := "none"
		if t.Topic != nil {
			name = *t.Topic
		}
		if t.ErrorCode == 0 {
			a.await(name, false)
		}
		out = append(out, fmt.Sprint(name, " ", codeName(t.ErrorCode), " ", t.TopicID != [16]byte{}))
	}
	return out
}

func (a *adminTalk) grow(words []string) (out []string) {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.Version, req.TimeoutMillis = 3, 5000
	for _, w := range words {
		name, count, _ := strings.Cut(w, ":")
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = a.name(name), int32(a.number(count))
		req.Topics = append(req.Topics, t)
	}
	for _, t := range a.ask(req).(*kmsg.CreatePartitionsResponse).Topics {
		out = append(out, t.Topic+" "+codeName(t.ErrorCode))
	}
	return out
}

// resource reads kind:name:the rest.
func (a *adminTalk) resource(word string) (kind kmsg.ConfigResourceType, name string, rest []string) {
	f := strings.SplitN(word, ":", 3)
	kind = map[string]kmsg.ConfigResourceType{"topic": kmsg.ConfigResourceTypeTopic, "broker": kmsg.ConfigResourceTypeBroker, "kind9": 9}[f[0]]
	if name = f[1]; kind == kmsg.ConfigResourceTypeTopic {
		name = a.name(name)
	}
	if f[2] != "" {
		rest = strings.Split(f[2], ",")
	}
	return kind, name, rest
}

func (a *adminTalk) alter(words []string) (out []string) {
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version = 2
	for _, w := range words {
		kind, name, configs := a.resource(w)
		res := kmsg.AlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
		for _, c := range configs {
			key, value, _ := strings.Cut(c, "=")
			res.Configs = append(res.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: key, Value: &value})
		}
		req.Resources = append(req.Resources, res)
	}
	for _, r := range a.ask(req).(*kmsg.AlterConfigsResponse).Resources {
		out = append(out, fmt.Sprint(r.ResourceType, " ", r.ResourceName, " ", codeName(r.ErrorCode)))
	}
	return out
}

func (a *adminTalk) change(words []string) (out []string) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	for _, w := range words {
		kind, name, configs := a.resource(w)
		res := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
		for _, c := range configs {
			key, value, _ := strings.Cut(c, "=")
			res.Configs = append(res.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Value: &value})
		}
		req.Resources = append(req.Resources, res)
	}
	for _, r := range a.ask(req).(*kmsg.IncrementalAlterConfigsResponse).Resources {
		out = append(out, fmt.Sprint(r.ResourceType, " ", r.ResourceName, " ", codeName(r.ErrorCode)))
	}
	return out
}

func (a *adminTalk) purge(words []string) (out []string) {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version, req.TimeoutMillis = 2, 5000
	for _, w := range words {
		at := strings.LastIndex(w, ":")
		topic, partition := a.place(w[:at])
		req.Topics = append(req.Topics, kmsg.DeleteRecordsRequestTopic{
			Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: a.number(w[at+1:])}},
		})
	}
	settle(func() string {
		out = nil
		for _, t := range a.ask(req).(*kmsg.DeleteRecordsResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == 6 { // not its leader yet
					return "busy"
				}
				out = append(out, fmt.Sprint(t.Topic, "/", p.Partition, " ", codeName(p.ErrorCode), " ", p.LowWatermark))
			}
		}
		return "done"
	}, "busy")
	return out
}

func (a *adminTalk) elect(words []string) (out []string) {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.TimeoutMillis, req.ElectionType = 2, 5000, int8(a.number(words[0]))
	for _, w := range words[1:] {
		topic, partition := a.place(w)
		req.Topics = append(req.Topics, kmsg.ElectLeadersRequestTopic{Topic: topic, Partitions: []int32{partition}})
	}
	got := a.ask(req).(*kmsg.ElectLeadersResponse)
	for _, t := range got.Topics {
		for _, p := range t.Partitions {
			out = append(out, fmt.Sprint(t.Topic, "/", p.Partition, " ", codeName(p.ErrorCode)))
		}
	}
	return append(out, "all "+codeName(got.ErrorCode))
}

func (a *adminTalk) limit(words []string) (out []string) {
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Version = 1
	for _, w := range words {
		entity, values, _ := strings.Cut(w, ":")
		var e kmsg.AlterClientQuotasRequestEntry
		for part := range strings.SplitSeq(entity, ",") {
			if kind, name, ok := strings.Cut(part, "="); ok {
				if kind == "user" && name != "" {
					name = a.name(name)
				}
				e.Entity = append(e.Entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: kind, Name: &name})
			}
		}
		for value := range strings.SplitSeq(values, ",") {
			if key, text, ok := strings.Cut(value, "="); ok {
				op := kmsg.AlterClientQuotasRequestEntryOp{Key: key, Remove: text == "remove"}
				if !op.Remove {
					var err error
					if op.Value, err = strconv.ParseFloat(text, 64); err != nil {
						a.t.Fatal(err)
					}
				}
				e.Ops = append(e.Ops, op)
			}
		}
		req.Entries = append(req.Entries, e)
	}
	for _, e := range a.ask(req).(*kmsg.AlterClientQuotasResponse).Entries {
		out = append(out, fmt.Sprint(len(e.Entity), " ", codeName(e.ErrorCode)))
	}
	return out
}

func (a *adminTalk) user(words []string) (out []string) {
	req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	for _, w := range words {
		f := strings.Split(w[1:], ":")
		name, mechanism := a.name(f[0]), int8(a.number(f[1]))
		if w[0] == '-' {
			req.Deletions = append(req.Deletions, kmsg.AlterUserSCRAMCredentialsRequestDeletion{Name: name, Mechanism: mechanism})
			continue
		}
		req.Upsertions = append(req.Upsertions, kmsg.AlterUserSCRAMCredentialsRequestUpsertion{
			Name: name, Mechanism: mechanism, Iterations: int32(a.number(f[2])), Salt: []byte("salt"), SaltedPassword: []byte(strings.Repeat("p", 32*int(mechanism))),
		})
	}
	for _, r := range a.ask(req).(*kmsg.AlterUserSCRAMCredentialsResponse).Results {
		out = append(out, r.User+" "+codeName(r.ErrorCode))
	}
	return out
}

func (a *adminTalk) who(words []string) (out []string) {
	req := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	for _, w := range words {
		req.Users = append(req.Users, kmsg.DescribeUserSCRAMCredentialsRequestUser{Name: a.name(w)})
	}
	for _, r := range a.ask(req).(*kmsg.DescribeUserSCRAMCredentialsResponse).Results {
		out = append(out, fmt.Sprint(r.User, " ", codeName(r.ErrorCode), " ", len(r.CredentialInfos)))
	}
	return out
}

func (a *adminTalk) commit(words []string) []string {
	return []string{settle(func() string { return commitOne(a.broker, a.name(words[0]), a.name(words[1])) }, "NOT_COORDINATOR")}
}

func (a *adminTalk) drop(words []string) (out []string) {
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Version = 2
	for _, w := range words {
		req.Groups = append(req.Groups, a.name(strings.TrimPrefix(w, ":")))
	}
	for _, g := range a.ask(req).(*kmsg.DeleteGroupsResponse).Groups {
		out = append(out, g.Group+" "+codeName(g.ErrorCode))
	}
	return out
}

func (a *adminTalk) forget(words []string) (out []string) {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = a.name(words[0])
	for _, w := range words[1:] {
		topic, partition := a.place(w)
		req.Topics = append(req.Topics, kmsg.OffsetDeleteRequestTopic{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: partition}}})
	}
	got := a.ask(req).(*kmsg.OffsetDeleteResponse)
	for _, t := range got.Topics {
		for _, p := range t.Partitions {
			out = append(out, fmt.Sprint(t.Topic, "/", p.Partition, " ", codeName(p.ErrorCode)))
		}
	}
	return append(out, "all "+codeName(got.ErrorCode))
}

func (a *adminTalk) configs(words []string) (out []string) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version = 4
	for _, w := range words {
		kind, name, keys := a.resource(w)
		req.Resources = append(req.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kind, ResourceName: name, ConfigNames: keys})
	}
	for _, r := range a.ask(req).(*kmsg.DescribeConfigsResponse).Resources {
		out = append(out, fmt.Sprint(r.ResourceType, " ", r.ResourceName, " ", codeName(r.ErrorCode), " ", len(r.Configs)))
	}
	return out
}

func (a *adminTalk) dirs(words []string) (out []string) {
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.Version = 4
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{}
	for _, w := range words {
		req.Topics = append(req.Topics, kmsg.DescribeLogDirsRequestTopic{Topic: a.name(w), Partitions: []int32{0, 0}})
	}
	for _, d := range a.ask(req).(*kmsg.DescribeLogDirsResponse).Dirs {
		for _, t := range d.Topics {
			out = append(out, fmt.Sprint(t.Topic, " ", len(t.Partitions)))
		}
	}
	return out
}

func (a *adminTalk) pages(words []string) (out []string) {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 100
	for _, w := range words {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: a.name(w)})
	}
	for _, t := range a.ask(req).(*kmsg.DescribeTopicPartitionsResponse).Topics {
		out = append(out, fmt.Sprint(*t.Topic, " ", codeName(t.ErrorCode), " ", len(t.Partitions)))
	}
	return out
}

// adminScripts has a broker answer testdata/admins.
func adminScripts(t *testing.T, b *broker) {
	datadriven.RunTest(t, "testdata/admins", func(t *testing.T, d *datadriven.TestData) string {
		a := &adminTalk{broker: b, prefix: fmt.Sprintf("%d-", time.Now().UnixNano())}
		out := ""
		for line := range strings.SplitSeq(d.Input, "\n") {
			out += a.do(line) + "\n"
		}
		return out
	})
}

func TestAdmins(t *testing.T) { adminScripts(t, dialBroker(t, "Levada", startLevada(t))) }

// TestAdminsOfApacheKafka: what testdata/admins says is what Apache Kafka answers.
func TestAdminsOfApacheKafka(t *testing.T) {
	adminScripts(t, dialBroker(t, kafkaName, kafkaAddress(t)))
}
