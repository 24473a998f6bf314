package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/topology"
)

// resolvedTopic is a topic of the plan as it is in the log.
type resolvedTopic struct {
	name       string
	id         [16]byte
	partitions int32
	compacted  bool
	// deleteRetentionMs is how long a compacted topic keeps tombstones.
	deleteRetentionMs int64
}

// plan is the topology with its topics resolved against the log.
type plan struct {
	subs []*subPlan
	// inputs tells the subtopology that reads a topic (full name).
	inputs map[string]sourceRef
	// partitions tells the number of partitions of each input topic.
	partitions map[string]int32
}

type sourceRef struct {
	sub    *subPlan
	source *topology.Source
}

type subPlan struct {
	*topology.Subtopology
	topics     []string        // full names of the sources
	sinks      []resolvedTopic // by sink index
	changelogs []changelog     // by store index
	partitions int32           // tasks: the largest number of partitions of a source
}

// changelog is where the changes of a store are kept.
type changelog struct {
	resolvedTopic
	// isSource: the compacted source topic is the changelog, nothing is written.
	isSource bool
}

// setup resolves the topics of a topology: it checks those of the user and
// creates the internal ones. It reports all faults at once.
type setup struct {
	cfg    Config
	admin  logclient.Admin
	topics map[string]resolvedTopic
}

func prepare(ctx context.Context, cfg Config) (*plan, error) {
	s := &setup{cfg: cfg, admin: cfg.Log.Admin(), topics: map[string]resolvedTopic{}}
	if err := s.external(ctx); err != nil {
		return nil, err
	}
	if err := s.repartition(ctx); err != nil {
		return nil, err
	}
	if err := s.copartitioned(); err != nil {
		return nil, err
	}
	if err := s.changelogs(ctx); err != nil {
		return nil, err
	}
	if err := s.deadLetters(ctx); err != nil {
		return nil, err
	}
	return s.plan(), nil
}

// describe adds the topics that exist to s.topics.
func (s *setup) describe(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	infos, err := s.admin.DescribeTopics(names, true).Wait(ctx)
	if err != nil {
		return fmt.Errorf("describe topics %s: %w", strings.Join(names, ", "), err)
	}
	for name, info := range infos {
		s.topics[name] = resolvedTopic{
			name: name, id: info.ID, partitions: info.Partitions,
			compacted:         strings.Contains(info.Configs["cleanup.policy"], "compact"),
			deleteRetentionMs: configInt(info.Configs["delete.retention.ms"], 86_400_000),
		}
	}
	return nil
}

// external checks the topics that must exist before the application.
func (s *setup) external(ctx context.Context) error {
	var names []string
	s.each(func(t topology.Topic, _ *topology.Subtopology) {
		if t.Kind == topology.External {
			names = append(names, t.Name)
		}
	})
	names = unique(names)
	if err := s.describe(ctx, names); err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if _, ok := s.topics[name]; !ok {
			errs = append(errs, fmt.Errorf("topic %q does not exist; create it, for example with: levada topic create %s --partitions 4", name, name))
		}
	}
	return errors.Join(errs...)
}

// each visits the topics of sources and sinks.
func (s *setup) each(fn func(topology.Topic, *topology.Subtopology)) {
	for _, sub := range s.cfg.Topology.Subtopologies {
		for _, src := range sub.Sources {
			fn(src.Topic, sub)
		}
		for _, sink := range sub.Sinks {
			fn(sink.Topic, sub)
		}
	}
}

// repartition creates the topics between subtopologies. The number of
// partitions of one follows from those that feed it, so the loop goes on until
// all are known; a cycle ends it, since each round must resolve one.
func (s *setup) repartition(ctx context.Context) error {
	for {
		var specs []logclient.TopicSpec
		unresolved := false
		for _, sub := range s.cfg.Topology.Subtopologies {
			n, known := s.taskCount(sub)
			for _, sink := range sub.Sinks {
				name := sink.Topic.FullName(s.cfg.App)
				if _, done := s.topics[name]; done || sink.Topic.Kind != topology.Repartition {
					continue
				}
				unresolved = true
				partitions := sink.Topic.Partitions
				if partitions == 0 && known {
					partitions = max(n, s.partnerPartitions(sink.Topic))
				}
				if partitions > 0 {
					specs = append(specs, repartitionSpec(name, partitions))
				}
			}
		}
		if !unresolved {
			return nil
		}
		if len(specs) == 0 {
			return errors.New("repartition topics feed each other in a circle: give one of them a number of partitions")
		}
		if err := s.create(ctx, specs); err != nil {
			return err
		}
	}
}

// createForAnyTime creates topics that take records of any time: they carry that
// of the input, whose topic has taken it. A cluster that does not know the
// config (before KIP-937) has no such bound, and is asked again without.
func (s *setup) createForAnyTime(ctx context.Context, specs []logclient.TopicSpec) error {
	lax := slices.Clone(specs)
	for i := range lax {
		lax[i].Configs = maps.Clone(lax[i].Configs)
		if lax[i].Configs == nil {
			lax[i].Configs = map[string]string{}
		}
		lax[i].Configs["message.timestamp.after.max.ms"] = strconv.FormatInt(math.MaxInt64, 10)
	}
	_, err := s.admin.CreateTopics(lax).Wait(ctx)
	if errors.Is(err, logclient.ErrInvalidConfig) {
		_, err = s.admin.CreateTopics(specs).Wait(ctx)
	}
	return err
}

// internalSegmentBytes is segment.bytes of the topics that the runtime makes: what is
// deleted or compacted goes by segments, and a broker's default of 1 GiB would keep a
// gigabyte of a repartition topic, and have that much of a changelog read at a restore.
const internalSegmentBytes = "134217728"

func repartitionSpec(name string, partitions int32) logclient.TopicSpec {
	// Kept until the runtime deletes what is committed, whatever the event time.
	return logclient.TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: -1, Configs: map[string]string{
		"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "segment.bytes": internalSegmentBytes,
	}}
}

// partnerPartitions is the number of partitions that the topics have, as far as
// known, that must be partitioned like t.
func (s *setup) partnerPartitions(t topology.Topic) int32 {
	var n int32
	for _, sub := range s.cfg.Topology.Subtopologies {
		for _, c := range sub.Copartitioned {
			member := false
			for _, other := range c.Topics {
				member = member || other.FullName(s.cfg.App) == t.FullName(s.cfg.App)
			}
			if !member {
				continue
			}
			for _, other := range c.Topics {
				if r, ok := s.topics[other.FullName(s.cfg.App)]; ok {
					n = max(n, r.partitions)
				} else {
					n = max(n, s.feederPartitions(other))
				}
			}
		}
	}
	return n
}

// feederPartitions is the task count, if known, of what writes a repartition
// topic that does not exist yet.
func (s *setup) feederPartitions(t topology.Topic) int32 {
	n := t.Partitions
	for _, sub := range s.cfg.Topology.Subtopologies {
		for _, sink := range sub.Sinks {
			if sink.Topic.FullName(s.cfg.App) == t.FullName(s.cfg.App) {
				count, _ := s.taskCount(sub)
				n = max(n, count)
			}
		}
	}
	return n
}

// taskCount is the largest number of partitions of a source; known is false
// while one of them does not exist yet.
func (s *setup) taskCount(sub *topology.Subtopology) (n int32, known bool) {
	for _, src := range sub.Sources {
		t, ok := s.topics[src.Topic.FullName(s.cfg.App)]
		if !ok {
			return 0, false
		}
		n = max(n, t.partitions)
	}
	return n, true
}

// create creates topics and describes them, and checks what was there before.
func (s *setup) create(ctx context.Context, specs []logclient.TopicSpec) error {
	sort.Slice(specs, func(i, j int) bool { return specs[i].Name < specs[j].Name })
	var names []string
	for _, spec := range specs {
		names = append(names, spec.Name)
	}
	if err := s.describe(ctx, names); err != nil {
		return err
	}
	var missing []logclient.TopicSpec
	for _, spec := range specs {
		if _, ok := s.topics[spec.Name]; !ok {
			missing = append(missing, spec)
		}
	}
	if len(missing) > 0 {
		if err := s.createForAnyTime(ctx, missing); err != nil {
			return fmt.Errorf("create internal topics: %w", err)
		}
		if err := s.describe(ctx, names); err != nil {
			return err
		}
	}
	var errs []error
	for _, spec := range specs {
		have, ok := s.topics[spec.Name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("topic %q was created and is not to be seen", spec.Name))
		case have.partitions != spec.Partitions:
			errs = append(errs, fmt.Errorf("internal topic %q has %d partitions, the topology needs %d: it was changed since the topic was made; reset the application or use another application id", spec.Name, have.partitions, spec.Partitions))
		case spec.Configs["cleanup.policy"] == "compact" && !have.compacted:
			errs = append(errs, fmt.Errorf("changelog topic %q is not compacted: set its cleanup.policy to compact, or state would be lost", spec.Name))
		}
	}
	return errors.Join(errs...)
}

// copartitioned checks topics whose records meet by key.
func (s *setup) copartitioned() error {
	var errs []error
	for _, sub := range s.cfg.Topology.Subtopologies {
		for _, c := range sub.Copartitioned {
			var have []string
			same := true
			first := int32(-1)
			for _, t := range c.Topics {
				n := s.topics[t.FullName(s.cfg.App)].partitions
				have = append(have, fmt.Sprintf("%s has %d", t.FullName(s.cfg.App), n))
				same = same && (first < 0 || n == first)
				first = n
			}
			if !same {
				errs = append(errs, fmt.Errorf("%s needs topics with equal numbers of partitions, but %s", c.Node, strings.Join(have, ", ")))
			}
		}
	}
	return errors.Join(errs...)
}

// changelogs creates the changelog topics of the stores.
func (s *setup) changelogs(ctx context.Context) error {
	var specs []logclient.TopicSpec
	for _, sub := range s.cfg.Topology.Subtopologies {
		n, _ := s.taskCount(sub)
		for _, store := range sub.Stores {
			if s.usesSource(store) {
				continue
			}
			specs = append(specs, logclient.TopicSpec{
				Name: store.Changelog.FullName(s.cfg.App), Partitions: n, ReplicationFactor: -1,
				Configs: map[string]string{"cleanup.policy": "compact", "segment.bytes": internalSegmentBytes},
			})
		}
	}
	return s.create(ctx, specs)
}

// usesSource tells whether a table's own topic can restore it.
func (s *setup) usesSource(store *topology.Store) bool {
	return store.SourceTopic != nil && s.topics[store.SourceTopic.FullName(s.cfg.App)].compacted
}

func (s *setup) deadLetters(ctx context.Context) error {
	name := s.cfg.DeadLetterTopic
	if name == "" {
		return nil
	}
	if err := s.describe(ctx, []string{name}); err != nil {
		return err
	}
	if _, ok := s.topics[name]; ok {
		return nil
	}
	spec := logclient.TopicSpec{Name: name, Partitions: 1, ReplicationFactor: -1}
	if err := s.createForAnyTime(ctx, []logclient.TopicSpec{spec}); err != nil {
		return fmt.Errorf("create dead-letter topic %q: %w", name, err)
	}
	return s.describe(ctx, []string{name})
}

func (s *setup) plan() *plan {
	p := &plan{inputs: map[string]sourceRef{}, partitions: map[string]int32{}}
	for _, sub := range s.cfg.Topology.Subtopologies {
		sp := &subPlan{Subtopology: sub}
		sp.partitions, _ = s.taskCount(sub)
		for _, src := range sub.Sources {
			name := src.Topic.FullName(s.cfg.App)
			sp.topics = append(sp.topics, name)
			p.inputs[name] = sourceRef{sub: sp, source: src}
			p.partitions[name] = s.topics[name].partitions
		}
		for _, sink := range sub.Sinks {
			sp.sinks = append(sp.sinks, s.topics[sink.Topic.FullName(s.cfg.App)])
		}
		for _, store := range sub.Stores {
			c := changelog{resolvedTopic: s.topics[store.Changelog.FullName(s.cfg.App)]}
			if s.usesSource(store) {
				c = changelog{resolvedTopic: s.topics[store.SourceTopic.FullName(s.cfg.App)], isSource: true}
			}
			sp.changelogs = append(sp.changelogs, c)
		}
		p.subs = append(p.subs, sp)
	}
	return p
}

// allTopics are the full names of all inputs, sorted.
func (p *plan) allTopics() []string {
	var names []string
	for _, sub := range p.subs {
		names = append(names, sub.topics...)
	}
	return unique(names)
}

// writes tells whether the topology itself writes to a topic.
func (p *plan) writes(topic string) bool {
	return slices.ContainsFunc(p.subs, func(sub *subPlan) bool {
		return slices.ContainsFunc(sub.sinks, func(t resolvedTopic) bool { return t.name == topic })
	})
}

func unique(names []string) []string {
	sort.Strings(names)
	out := names[:0]
	for i, n := range names {
		if i == 0 || n != names[i-1] {
			out = append(out, n)
		}
	}
	return out
}

func configInt(s string, def int64) int64 {
	var n int64
	if _, err := fmt.Sscan(s, &n); err != nil {
		return def
	}
	return n
}
