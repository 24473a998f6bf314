package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// offline are the partitions of a topic that cannot be served, as one whose log is damaged
// or that has no leader, and why. The others are served.
type offline map[int32]error

func offlineOf(topic kadm.TopicDetail) offline {
	out := offline{}
	for p, d := range topic.Partitions {
		if d.Err != nil {
			out[p] = d.Err
		}
	}
	return out
}

// offlineIn asks for those of a topic.
func offlineIn(ctx context.Context, admin *kadm.Client, topic string) (offline, error) {
	topics, err := admin.ListTopicsWithInternal(ctx, topic)
	if err != nil {
		return nil, err
	}
	return offlineOf(topics[topic]), nil
}

// others is an error of a list of offsets, but nil where it is only about partitions that
// are offline: then the list has the others.
func (o offline) others(err error) error {
	var of *kadm.ShardErrors
	if len(o) == 0 || !errors.As(err, &of) {
		return err
	}
	for _, e := range of.Errs {
		if !slices.ContainsFunc(slices.Collect(maps.Values(o)), func(why error) bool { return errors.Is(e.Err, why) }) {
			return err
		}
	}
	return nil
}

// of are those of these partitions, or all if none are named.
func (o offline) of(partitions []int32) offline {
	out := maps.Clone(o)
	maps.DeleteFunc(out, func(p int32, _ error) bool { return len(partitions) > 0 && !slices.Contains(partitions, p) })
	return out
}

// explained is the fault with the partitions and the mend, nil where there are none.
func (o offline) explained(topic string) error {
	if len(o) == 0 {
		return nil
	}
	var text []string
	var first error
	for _, p := range slices.Sorted(maps.Keys(o)) {
		text = append(text, fmt.Sprint(p))
		first = errors.Join(first, o[p])
	}
	word := "partition "
	if len(o) > 1 {
		word = "partitions "
	}
	return subject{thing: fmt.Sprintf("topic %q, %s%s", topic, word, strings.Join(text, ", "))}.explained(first, "")
}

// explainedOffsets is the fault of a list of the offsets of topics. One that is about
// partitions which are offline names them.
func explainedOffsets(ctx context.Context, admin *kadm.Client, topics []string, err error) error {
	if errors.Is(err, kerr.KafkaStorageError) {
		for _, topic := range topics {
			if off, failed := offlineIn(ctx, admin, topic); failed == nil && len(off) > 0 {
				return off.explained(topic)
			}
		}
	}
	return onTopic(strings.Join(topics, ","), "read").explained(err, "")
}
