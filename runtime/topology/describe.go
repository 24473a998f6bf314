package topology

import (
	"fmt"
	"strings"
)

// Describe prints the plan: one block for each subtopology, one line for each
// node with what it reads, keeps and writes. The text is stable: equal
// topologies give equal texts.
func (t *Topology) Describe() string {
	var b strings.Builder
	for i, sub := range t.Subtopologies {
		if i > 0 {
			b.WriteByte('\n')
		}
		sub.describe(&b)
	}
	return b.String()
}

func (s *Subtopology) describe(b *strings.Builder) {
	fmt.Fprintf(b, "subtopology %d\n", s.ID)
	for _, n := range s.Nodes {
		fmt.Fprintf(b, "  %s: %s", n.Name, n.Kind)
		for _, src := range s.Sources {
			if src.Node == n {
				b.WriteString(" of " + src.Topic.describe())
				if src.Topic.Kind == External {
					b.WriteString(" from " + src.Reset.String())
				}
			}
		}
		for i, in := range n.Inputs {
			if i == 0 {
				b.WriteString(" <- ")
			} else {
				b.WriteString(", ")
			}
			b.WriteString(in.Name)
		}
		for _, sink := range s.Sinks {
			if sink.Node == n {
				fmt.Fprintf(b, " to %s", sink.Topic.describe())
			}
		}
		if len(n.Stores) > 0 {
			fmt.Fprintf(b, " [store %s]", strings.Join(n.Stores, ", "))
		}
		if n.Detail != "" {
			fmt.Fprintf(b, " (%s)", n.Detail)
		}
		b.WriteByte('\n')
	}
	for _, store := range s.Stores {
		fmt.Fprintf(b, "  store %s: changelog %s", store.Name, store.Changelog.Name)
		if store.SourceTopic != nil {
			fmt.Fprintf(b, ", or topic %s if it is compacted", store.SourceTopic.Name)
		}
		b.WriteByte('\n')
	}
	for _, c := range s.Copartitioned {
		names := make([]string, len(c.Topics))
		for i, t := range c.Topics {
			names[i] = t.Name
		}
		fmt.Fprintf(b, "  partitioned alike for %s: %s\n", c.Node, strings.Join(names, ", "))
	}
}

func (t Topic) describe() string {
	s := fmt.Sprintf("%s topic %s", t.Kind, t.Name)
	if t.Kind == External {
		s = "topic " + t.Name
	}
	if t.Partitions > 0 {
		s += fmt.Sprintf(" of %d partitions", t.Partitions)
	}
	return s
}

// String implements fmt.Stringer.
func (k TopicKind) String() string {
	return [...]string{External: "external", Repartition: "repartition", Changelog: "changelog"}[k]
}

// String implements fmt.Stringer.
func (r Reset) String() string {
	return [...]string{Earliest: "earliest", Latest: "latest"}[r]
}
