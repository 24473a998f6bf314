package differential

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupScripts are what happens to a group whose server assigns (KIP-848). What each
// line is, groupTalk.do says.
var groupScripts = map[string]string{
	"members come and go": `
		topic a 4
		topic b 2
		join m1 a
		beat m1
		group
		join m2 a
		beat m1
		beat m1
		beat m2
		group
		subscribe m2 a b
		beat m1
		beat m2
		group
		leave m2
		beat m1
		group
		leave m1
		group
		join m1 a
		group
		join m3 a
		beat m1
		beat m1
		beat m3
		group
		lose m3
		leave m3
		beat m1
		group`,
	"topics come and grow": `
		topic a 1
		join m1 a b
		beat m1
		group
		topic b 1
		until m1 3
		group
		grow a 3
		until m1 4
		group
		join m2 b
		join m3 a b
		beat m1
		beat m1
		beat m2
		beat m3
		group`,
	"a topic that is not there": `
		join m1 none
		beat m1
		group
		join m2 none
		group
		leave m1
		leave m2
		group`,
	"static members": `
		topic a 2
		join m1 a static i1
		group
		join m2 a static i2
		beat m1
		beat m1
		beat m2
		group
		away m1
		group
		beat m2
		join m3 a static i1
		beat m2
		group
		away m3
		join m3 a static i1
		group
		away m3
		topic b 1
		join m4 a b static i1
		beat m2
		group
		leave m4
		beat m2
		group`,
	"what a member says of itself": `
		topic a 2
		topic b 2
		join m1 a
		rack m1 r1
		group
		assignor m1 range
		group
		assignor m1 uniform
		group
		subscribe m1 a
		subscribe m1 b
		subscribe m1 a b
		group`,
	"a member that joins again": `
		topic a 2
		topic b 2
		join m1 a
		join m1 a
		join m2 a b
		beat m1
		beat m1
		beat m2
		lose m1
		rejoin m1 a
		beat m1
		group
		rejoin m1 a b
		beat m2
		beat m1
		group
		leave m1
		rejoin m1 a b
		beat m2
		beat m2
		beat m1
		group`,
	"a member that joins again while it gives up": `
		topic a 6
		join m1 a
		join m2 a
		beat m1
		rejoin m1 a
		beat m2
		group
		join m3 a
		rejoin m1 a
		rejoin m2 a
		beat m3
		beat m2
		beat m1
		beat m3
		group`,
	"a static member that joins again": `
		topic a 2
		join m1 a static i1
		join m2 a static i1
		join m3 a static i2
		beat m1
		beat m1
		beat m3
		lose m1
		rejoin m1 a
		beat m1
		group`,
	"a static member that joins again before it left": `
		topic a 2
		join m1 a static i1
		rejoin m1 a
		beat m1
		rejoin m1 a
		group
		away m1
		rejoin m1 a
		rejoin m1 a
		group
		away m1
		nameless m1 a
		beat m1
		group`,
	"a static member that spoke the classic protocol": `
		topic a 2
		classic c1 a static i1
		join m2 a
		group
		rejoin c1 a
		group`,
	"rebalance time-outs": `
		topic a 4
		join m1 a within -1
		group
		join m1 a within -5
		group
		join m2 a within 2147483647
		beat m1
		without m1
		beat m2
		group
		join m3 a within 0
		group`,
	"time-outs of the classic protocol": `
		topic a 2
		classic c1 a session -1
		classic c2 a session 0
		classic c3 a session 2147483647
		enter c4 a within -1
		without c4
		enter c5 a within -2147483648
		without c5
		classic c6 a within 2147483647
		quit c6`,
	"a static member that spoke the classic protocol and does not come back": `
		topic a 2
		classic c1 a static i1 within 1500
		classic c2 a within 1500
		without c1
		classic c2 a within 1500`,
	"a member of the classic protocol that takes no part": `
		topic a 2
		join m1 a
		classic c1 a within 5000
		enter c2 a within 1000
		without c2
		group
		quit c1
		group`,
	"what no member says": `
		topic a 2
		join m1 a static
		join m1 a owns null
		group
		join m1 a
		rack m1
		group`,
	"a classic group before": `
		topic a 2
		commit a
		join m1 a
		group`,
	"an empty classic group before": `
		topic a 2
		classic c1 a
		classic c1 a
		quit c1
		join m1 a
		group
		leave m1
		classic c1 a
		quit c1
		join m1 a
		group`,
	"an upgrade": `
		topic a 2
		classic c1 a
		classic c1 a
		join m1 a
		group
		leave m1
		group
		classic c1 a
		join m1 a
		group`,
	"a member that is refused while another waits": `
		topic a 2
		classic c1 a
		waits c2 a
		pattern m1 (
		heard c2`,
	"by pattern": `
		topic a 2
		pattern m1 a
		until m1 2
		group
		pattern m2 a
		until m1 3
		until m2 3
		group`,
}

// groupTalk is one group at one broker.
type groupTalk struct {
	*broker
	group   string
	prefix  string // of topics
	members map[string]*groupMember
}

// groupMember is what a member knows of itself.
type groupMember struct {
	id       string
	instance *string
	epoch    int32
	owned    []kmsg.ConsumerGroupHeartbeatRequestTopic
	waits    chan *kmsg.JoinGroupResponse // what it is told, if it waits
}

func (c *groupTalk) topicName(name string) string { return c.prefix + name }

// do carries out a line of a script.
func (c *groupTalk) do(line string) string {
	f := strings.Fields(line)
	c.doing = line
	switch f[0] {
	case "topic": // NAME PARTITIONS
		n := int32(f[2][0] - '0')
		out := newWorld("", false).newTopic(c.topicName(f[1]), n, 1, "", "", false).do(c.broker)
		c.known(c.topicName(f[1]), int(n))
		return out
	case "grow": // NAME PARTITIONS
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.TimeoutMillis = 5000
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = c.topicName(f[1]), int32(f[2][0]-'0')
		req.Topics = append(req.Topics, t)
		out := codeName(c.ask(req).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode)
		c.known(t.Topic, int(t.Count))
		return out
	case "group":
		return c.describe()
	case "commit": // TOPIC: of nobody
		return commitOne(c.broker, c.group, c.topicName(f[1]))
	case "classic", "enter": // MEMBER TOPIC... [static INSTANCE] [session MS] [within MS]: joins by the classic protocol, and takes its part or does not
		return c.classic(options(f, "static", "session", "within"))
	case "waits": // MEMBER TOPIC...: joins a group by the classic protocol that somebody has to join again
		return c.waits(f)
	case "heard": // MEMBER: who waits is answered
		return codeName((<-c.members[f[1]].waits).ErrorCode)
	case "quit": // MEMBER
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group = 4, c.group
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = c.members[f[1]].id
		req.Members = append(req.Members, m)
		delete(c.members, f[1])
		return codeName(c.ask(req).(*kmsg.LeaveGroupResponse).ErrorCode)
	case "without": // MEMBER: waits until it is out of the group
		return settle(func() string {
			if strings.Contains(c.describe(), ", "+f[1]+" at ") || strings.Contains(c.describeClassic(), c.members[f[1]].id) {
				return "busy"
			}
			return "gone"
		}, "busy")
	case "until": // MEMBER EPOCH: beats until it is there
		settle(func() string {
			if got := c.do("beat " + f[1]); strings.HasPrefix(got, "ok "+f[2]) {
				return got
			}
			return "busy"
		}, "busy")
		return fmt.Sprint("at ", c.members[f[1]].epoch)
	}
	return c.heartbeat(f)
}

// options takes from a line what is given by these names, with its value behind it.
func options(f []string, names ...string) (rest []string, given map[string]*string) {
	given = map[string]*string{}
	for i := 0; i < len(f); i++ {
		if i < 2 || !slices.Contains(names, f[i]) {
			rest = append(rest, f[i])
			continue
		}
		value := ""
		if i+1 < len(f) {
			value = f[i+1]
		}
		given[f[i]] = &value
		i++
	}
	return rest, given
}

// heartbeat carries out a line that is a member's sign of life.
func (c *groupTalk) heartbeat(f []string) string {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.RebalanceTimeoutMillis = 1, c.group, -1
	m := c.members[f[1]]
	f, given := options(f, "static", "within", "owns")
	if f[0] == "join" || f[0] == "pattern" && m == nil { // MEMBER TOPIC... [static INSTANCE]
		m = &groupMember{id: f[1]}
		c.members[f[1]] = m
		req.RebalanceTimeoutMillis, req.Topics = 10_000, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		m.instance = given["static"]
	}
	req.MemberID, req.MemberEpoch, req.InstanceID = m.id, m.epoch, m.instance
	if given["within"] != nil {
		_, _ = fmt.Sscan(*given["within"], &req.RebalanceTimeoutMillis)
	}
	switch f[0] {
	case "nameless": // MEMBER TOPIC...: rejoins without its instance
		req.InstanceID = nil
		fallthrough
	case "rejoin": // MEMBER TOPIC...: while it is a member
		req.MemberEpoch, req.RebalanceTimeoutMillis, req.Topics = 0, 10_000, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		fallthrough
	case "join", "subscribe": // MEMBER TOPIC...
		for _, name := range f[2:] {
			req.SubscribedTopicNames = append(req.SubscribedTopicNames, c.topicName(name))
		}
	case "pattern": // MEMBER PREFIX
		regex := c.topicName(f[2]) + ".*"
		req.SubscribedTopicRegex = &regex
	case "beat": // MEMBER
	case "rack": // MEMBER [RACK]
		rack := strings.Join(f[2:], "")
		req.RackID = &rack
	case "assignor": // MEMBER ASSIGNOR
		req.ServerAssignor = &f[2]
	case "lose": // MEMBER: what it knows is old
		req.MemberEpoch = m.epoch + 5
	case "leave": // MEMBER
		req.MemberEpoch = -1
	case "away": // MEMBER: it is back soon
		req.MemberEpoch = -2
	}
	if given["owns"] != nil {
		req.Topics = nil
	}
	out := c.beat(m, req)
	if f[0] == "pattern" { // Kafka finds the topics after its answer
		out, _, _ = strings.Cut(out, " ")
	}
	return out
}

// beat sends what a member says; it owns what it was last told.
func (c *groupTalk) beat(m *groupMember, req *kmsg.ConsumerGroupHeartbeatRequest) string {
	if m.epoch > 0 && req.Topics == nil {
		req.Topics = append([]kmsg.ConsumerGroupHeartbeatRequestTopic{}, m.owned...)
	}
	got := c.ask(req).(*kmsg.ConsumerGroupHeartbeatResponse)
	if got.ErrorCode != 0 {
		return codeName(got.ErrorCode)
	}
	m.epoch = max(got.MemberEpoch, 0)
	out := fmt.Sprint("ok ", got.MemberEpoch)
	if got.Assignment == nil {
		return out
	}
	m.owned, out = nil, out+","
	n := 0
	for _, t := range got.Assignment.Topics {
		m.owned = append(m.owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
		n += len(t.Partitions)
	}
	return fmt.Sprint(out, " assigned ", n)
}

// assignAtOnce has the group assign whenever something changes, not once a second.
func (c *groupTalk) assignAtOnce() {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeGroupConfig, c.group
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "consumer.assignment.interval.ms", kmsg.StringPtr("0")
	res.Configs = append(res.Configs, config)
	req.Resources = append(req.Resources, res)
	got := c.ask(req).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]
	if got.ErrorCode != 0 {
		c.t.Fatalf("%s: %s", config.Name, codeName(got.ErrorCode))
	}
}

// known waits until the coordinator knows a topic and its partitions: it assigns them to
// the one member of another group.
func (b *broker) known(topic string, partitions int) {
	i := 0
	settle(func() string {
		i++
		req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
		req.Version, req.Group, req.MemberID, req.RebalanceTimeoutMillis = 1, fmt.Sprint(topic, "-known-", partitions, "-", i), "m", 10_000
		req.SubscribedTopicNames, req.Topics = []string{topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		got := b.ask(req).(*kmsg.ConsumerGroupHeartbeatResponse)
		if a := got.Assignment; a != nil && len(a.Topics) == 1 && len(a.Topics[0].Partitions) == partitions {
			return "done"
		}
		return "busy"
	}, "busy")
}

// reaches waits until a group whose server assigns is at an epoch.
func (b *broker) reaches(group, epoch string) {
	settle(func() string {
		req := kmsg.NewPtrConsumerGroupDescribeRequest()
		req.Groups = []string{group}
		if got := b.ask(req).(*kmsg.ConsumerGroupDescribeResponse).Groups[0]; fmt.Sprint(got.Epoch) == epoch {
			return "done"
		}
		return "busy"
	}, "busy")
}

func (c *groupTalk) describe() string {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{c.group}
	got := c.ask(req).(*kmsg.ConsumerGroupDescribeResponse).Groups[0]
	out := fmt.Sprintf("%s %s, epoch %d, target %d", codeName(got.ErrorCode), got.State, got.Epoch, got.AssignmentEpoch)
	var members []string
	for _, m := range got.Members {
		for name, known := range c.members { // a broker may have named it
			if known.id == m.MemberID {
				m.MemberID = name
			}
		}
		members = append(members, fmt.Sprintf(", %s at %d", m.MemberID, m.MemberEpoch))
	}
	slices.Sort(members)
	return out + strings.Join(members, "")
}

// describeClassic names the members of a classic group.
func (c *groupTalk) describeClassic() (members string) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = 5, []string{c.group}
	for _, m := range c.ask(req).(*kmsg.DescribeGroupsResponse).Groups[0].Members {
		members += m.MemberID + " "
	}
	return members
}

// TestGroupsAsApacheKafka: the same happens to a group whose server assigns, and its
// epochs rise as far, where Kafka does not put assignments off.
func TestGroupsAsApacheKafka(t *testing.T) {
	asApacheKafka(t, groupScripts, func(b *broker, unique string) func(line string) string {
		c := &groupTalk{broker: b, group: unique, prefix: unique + "-", members: map[string]*groupMember{}}
		c.assignAtOnce()
		return c.do
	})
}

// commitOne commits an offset as nobody.
func commitOne(b *broker, group, topic string) string {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 8, group, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	t.Partitions = []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1, LeaderEpoch: -1}}
	req.Topics = append(req.Topics, t)
	return codeName(b.ask(req).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode)
}
