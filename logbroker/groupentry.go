package logbroker

import (
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
	"github.com/levada/levada/logbroker/meta"
)

// groupEntry is one group, of the protocol that its members speak: either of
// classic and consumer is set. Offsets are the same for both.
type groupEntry struct {
	id       string
	classic  *group.Group
	consumer *group.Consumer
	switched bool // from one to the other, since it was last stored
	fresh    bool // made by the event that is under way
	refused  bool // for a member that was refused: it is dropped again

	dueAt time.Time // when it is looked at again; zero if nothing will be due
	place int       // in groups.due, from 1 on; 0 for none
	bytes int       // what it takes, about
}

// changed tells, once, whether the group is to be stored.
func (e *groupEntry) changed() bool {
	c := e.switched
	e.switched = false
	if e.consumer != nil {
		return e.consumer.Changed() || c
	}
	return e.classic.Changed() || c
}

func (e *groupEntry) encode() ([]byte, error) {
	if e.consumer != nil {
		return e.consumer.Encode()
	}
	return e.classic.Encode()
}

func (e *groupEntry) size() int {
	if e.consumer != nil {
		return e.consumer.Bytes()
	}
	return e.classic.Bytes()
}

// check tells whether a member may commit offsets.
func (e *groupEntry) check(member string, instance group.Instance, generation int32, producer bool, offsets []topicOffset) error {
	if e.consumer != nil {
		return e.consumer.CheckCommit(member, instance, generation, producer, func(yield func(group.Partition) bool) {
			for _, o := range offsets {
				if !yield(group.Partition{Topic: o.topic.id, Index: o.Partition}) {
					return
				}
			}
		})
	}
	return e.classic.Check(member, instance, generation, producer)
}

func (e *groupEntry) next() time.Time {
	if e.consumer != nil {
		return e.consumer.Next()
	}
	return e.classic.Next()
}

func (e *groupEntry) tick(now time.Time) []group.Answer {
	if e.consumer != nil {
		e.consumer.Tick(now)
		return nil
	}
	return e.classic.Tick(now)
}

func (e *groupEntry) seen(now time.Time, member string) {
	if e.consumer != nil {
		e.consumer.Seen(now, member)
		return
	}
	e.classic.Seen(now, member)
}

func (e *groupEntry) state() group.State {
	if e.consumer != nil {
		return e.consumer.State()
	}
	return e.classic.State
}

// emptied is when the last member went; zero if there never was one, or is.
func (e *groupEntry) emptied() time.Time {
	if e.consumer != nil {
		return e.consumer.Emptied
	}
	return e.classic.Emptied
}

func (e *groupEntry) members() int {
	if e.consumer != nil {
		return len(e.consumer.Members)
	}
	return len(e.classic.Members)
}

// toConsumer makes the group one of the consumer protocol, if it can be.
func (b *Broker) toConsumer(id string, e *groupEntry) error {
	c, err := e.classic.Upgrade(b.now(), topicView{b}, b.groupTimes(id))
	if err != nil {
		return err
	}
	e.classic, e.consumer, e.switched = nil, c, len(c.Members) > 0
	return nil
}

// toClassic makes an empty group of the consumer protocol a classic one.
func (b *Broker) toClassic(e *groupEntry) {
	e.classic, e.consumer, e.switched = e.consumer.Downgrade(b.now(), topicView{b}), nil, true
}

// settleGroup makes a group whose members have all gone back to the classic
// protocol a classic one.
func (b *Broker) settleGroup(id string, e *groupEntry) {
	if e.consumer != nil && e.consumer.ToClassic() {
		b.log.Info("group is of the classic protocol again", "group", id)
		b.toClassic(e)
	}
}

func (b *Broker) groupTimes(id string) func() group.Times {
	return func() group.Times { return b.groupSettings.times(id) }
}

// topicView shows the topics to the groups.
type topicView struct{ b *Broker }

var _ group.Topics = topicView{}

func viewOf(t *topic, ok bool) (group.Topic, bool) {
	if !ok {
		return group.Topic{}, false
	}
	return group.Topic{ID: t.id, Name: t.name, Partitions: int32(len(t.parts()))}, true
}

// ByName implements group.Topics.
func (v topicView) ByName(name string) (group.Topic, bool) {
	t := v.b.topics.byName(name)
	return viewOf(t, t != nil)
}

// ByID implements group.Topics.
func (v topicView) ByID(id group.TopicID) (group.Topic, bool) {
	t := v.b.topics.byID(meta.TopicID(id))
	return viewOf(t, t != nil)
}

// Match implements group.Topics.
func (v topicView) Match(re *regexp.Regexp, principal, host string) []group.Topic {
	w := who{v.b, &Conn{Host: host, principal: principal, internal: principal == ""}}
	var out []group.Topic
	for _, t := range v.b.topics.sorted() {
		if re.MatchString(t.name) && w.mayTopic(kmsg.ACLOperationDescribe, t.name) {
			seen, _ := viewOf(t, true)
			out = append(out, seen)
		}
	}
	return out
}

// Version implements group.Topics.
func (v topicView) Version() uint64 { return v.b.topics.now.Load().version }

// Created implements group.Topics.
func (v topicView) Created() uint64 { return v.b.topics.now.Load().created }
