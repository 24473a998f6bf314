package logbroker

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// create sends one CreateTopics request and returns the error codes of its topics.
func (w *workbench) create(validateOnly bool, topics ...kmsg.CreateTopicsRequestTopic) (codes []int16) {
	w.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.ValidateOnly, req.Topics = 7, validateOnly, topics
	for _, t := range ask[*kmsg.CreateTopicsResponse](w, req).Topics {
		codes = append(codes, t.ErrorCode)
	}
	return codes
}

// TestAssignmentsOfNewTopics: one that this broker cannot have is refused, and makes
// no topic.
func TestAssignmentsOfNewTopics(t *testing.T) {
	w := newWorkbench(t)
	type assigned = kmsg.CreateTopicsRequestTopicReplicaAssignment
	own := []int32{w.Broker.cfg.NodeID}
	for name, test := range map[string]struct {
		assignment         []assigned
		count, replication int32
		config             string
		want               *kerr.Error
	}{
		"other partition":  {[]assigned{{Partition: 7, Replicas: own}}, -1, -1, "", kerr.InvalidReplicaAssignment},
		"gap":              {[]assigned{{Partition: 0, Replicas: own}, {Partition: 2, Replicas: own}}, -1, -1, "", kerr.InvalidReplicaAssignment},
		"negative":         {[]assigned{{Partition: -1, Replicas: own}}, -1, -1, "", kerr.InvalidReplicaAssignment},
		"partition twice":  {[]assigned{{Partition: 0, Replicas: own}, {Partition: 0, Replicas: own}}, -1, -1, "", kerr.InvalidReplicaAssignment},
		"other brokers":    {[]assigned{{Partition: 0, Replicas: []int32{99, 98}}}, -1, -1, "", kerr.InvalidReplicaAssignment},
		"broker twice":     {[]assigned{{Partition: 0, Replicas: append(own, own...)}}, -1, -1, "", kerr.InvalidReplicaAssignment},
		"no replicas":      {[]assigned{{Partition: 0}}, -1, -1, "", kerr.InvalidReplicaAssignment},
		"with a count":     {[]assigned{{Partition: 7}}, 1, -1, "", kerr.InvalidRequest},
		"with a factor":    {[]assigned{{Partition: 7}}, -1, 1, "", kerr.InvalidRequest},
		"and a bad config": {[]assigned{{Partition: 7}}, 1, -1, "nonsense", kerr.InvalidConfig},
		"right":            {[]assigned{{Partition: 1, Replicas: own}, {Partition: 0, Replicas: own}}, -1, -1, "", nil},
	} {
		ct := kmsg.NewCreateTopicsRequestTopic()
		ct.Topic, ct.NumPartitions, ct.ReplicationFactor, ct.ReplicaAssignment = "t", test.count, int16(test.replication), test.assignment
		if test.config != "" {
			ct.Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: test.config, Value: &test.config}}
		}
		for _, validateOnly := range []bool{true, false} {
			want := int16(0)
			if test.want != nil {
				want = test.want.Code
			}
			if got := w.create(validateOnly, ct)[0]; got != want {
				t.Errorf("%s: error %v, want %v", name, kerr.ErrorForCode(got), kerr.ErrorForCode(want))
			}
		}
		switch found := w.topics.byName("t"); {
		case (found == nil) != (test.want != nil):
			t.Errorf("%s: the topic is there: %v", name, found != nil)
		case found != nil && len(found.parts()) != 2:
			t.Errorf("%s: %d partitions", name, len(found.parts()))
		case found != nil:
			w.deleteTopic("t")
		}
	}
}

// TestNamesThatCollide: names that differ in dots and underscores only are one in
// metrics, so the second is refused, before all that is wrong with it besides.
func TestNamesThatCollide(t *testing.T) {
	w := newWorkbench(t)
	named := func(name string) kmsg.CreateTopicsRequestTopic {
		ct := kmsg.NewCreateTopicsRequestTopic()
		ct.Topic, ct.NumPartitions, ct.ReplicationFactor = name, 1, 1
		return ct
	}
	w.topic("a.b_c", 1)
	wrong := named("a.b.c")
	wrong.NumPartitions = -5
	for range 2 {
		for _, name := range []string{"a_b_c", "a.b.c", "a_b.c"} {
			w.want(w.create(false, named(name))[0], kerr.InvalidTopicException)
			w.want(w.create(true, named(name))[0], kerr.InvalidTopicException)
		}
		w.want(w.create(false, wrong)[0], kerr.InvalidTopicException)
		w.want(w.create(false, named("a.b_c"))[0], kerr.TopicAlreadyExists)
		w.restart()
	}
	for _, name := range []string{"a-b-c", "abc", "a.b", "a.b_c.d"} {
		w.topic(name, 1)
	}
}

// TestNamesOfOneRequestDoNotCollide: topics of one request are held against those that
// are there before it, not against each other; of the same name there is still one.
func TestNamesOfOneRequestDoNotCollide(t *testing.T) {
	w := newWorkbench(t)
	w.cfg.AutoCreateTopics = true
	w.restart()
	named := func(names ...string) (topics []kmsg.CreateTopicsRequestTopic) {
		for _, name := range names {
			ct := kmsg.NewCreateTopicsRequestTopic()
			ct.Topic, ct.NumPartitions, ct.ReplicationFactor = name, 1, 1
			topics = append(topics, ct)
		}
		return topics
	}
	collides, unknown := kerr.InvalidTopicException.Code, kerr.UnknownTopicOrPartition.Code
	steps := []struct {
		name      string
		got, want []int16
	}{
		{"validated", w.create(true, named("x.y.z", "x_y.z", "x_y_z")...), []int16{0, 0, 0}},
		{"made", w.create(false, named("x.y.z", "x_y.z", "x_y_z", "x-y-z")...), []int16{0, 0, 0, 0}},
		{"named before", w.create(false, named("x.y.z", "x.y_z")...), []int16{kerr.TopicAlreadyExists.Code, collides}},
		{"twice", w.create(false, named("t.u", "t.u", "t_u")...), []int16{kerr.InvalidRequest.Code, 0}},
		{"by metadata", w.metadataOf("a.b", "a_b", "x.y_z", "c"), []int16{0, 0, unknown, 0}},
		{"by metadata before", w.metadataOf("a.b", "t.u"), []int16{0, unknown}},
	}
	for _, s := range steps {
		if !slices.Equal(s.got, s.want) {
			t.Errorf("%s: codes %d, want %d", s.name, s.got, s.want)
		}
	}
	w.restart()
	w.deleteTopic("x.y.z")
	w.deleteTopic("x_y_z")
	if got := w.create(false, named("x.y.z")...); !slices.Equal(got, []int16{collides}) {
		t.Errorf("codes %d while there is still one of them", got)
	}
	w.deleteTopic("x_y.z")
	w.topic("x.y.z", 1)
}

// metadataOf asks for topics, which makes them, and returns the error codes.
func (w *workbench) metadataOf(names ...string) (codes []int16) {
	w.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Version, req.AllowAutoTopicCreation = 9, true
	for _, n := range names {
		mt := kmsg.NewMetadataRequestTopic()
		mt.Topic = &n
		req.Topics = append(req.Topics, mt)
	}
	for _, mt := range ask[*kmsg.MetadataResponse](w, req).Topics {
		codes = append(codes, mt.ErrorCode)
	}
	return codes
}

// TestConfigsOfNewTopics: Java's admin fails over an answer without configs, or with one whose
// source it does not know (1 to 6, KIP-525), also where no topic was made.
func TestConfigsOfNewTopics(t *testing.T) {
	w := newWorkbench(t)
	for version := int16(5); version <= 7; version++ {
		for _, validateOnly := range []bool{true, false, false} { // the last is refused: there is one
			req := kmsg.NewPtrCreateTopicsRequest()
			req.Version, req.ValidateOnly, req.Topics = version, validateOnly, []kmsg.CreateTopicsRequestTopic{kmsg.NewCreateTopicsRequestTopic()}
			req.Topics[0].Topic, req.Topics[0].NumPartitions, req.Topics[0].ReplicationFactor = "t", 1, 1
			told := ask[*kmsg.CreateTopicsResponse](w, req).Topics[0]
			if told.Configs == nil || (told.ErrorCode == 0) == (len(told.Configs) == 0) {
				t.Errorf("version %d, validate only %v: error %d and configs %v", version, validateOnly, told.ErrorCode, told.Configs)
			}
			for _, c := range told.Configs {
				if c.Source < 1 || c.Source > 6 {
					t.Errorf("version %d: %s has source %d", version, c.Name, c.Source)
				}
			}
		}
		w.deleteTopic("t")
	}
}
