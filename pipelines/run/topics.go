package run

import (
	"context"
	"errors"
	"fmt"

	"github.com/levada/levada/pipelines"
	"github.com/levada/levada/runtime/logclient"
)

// ensureTopics makes the topics that are missing. Those that exist stay as
// they are.
func ensureTopics(ctx context.Context, admin logclient.Admin, topics []pipelines.Topic) error {
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	have, err := admin.DescribeTopics(names, false).Wait(ctx)
	if err != nil {
		return fmt.Errorf("look up topics: %w", err)
	}
	for _, t := range topics {
		if _, ok := have[t.Name]; ok {
			continue
		}
		spec := logclient.TopicSpec{Name: t.Name, Partitions: t.Partitions, ReplicationFactor: -1}
		if t.Compacted {
			spec.Configs = map[string]string{"cleanup.policy": "compact"}
		}
		// Another process may have made it meanwhile, with other settings.
		_, err := admin.CreateTopics([]logclient.TopicSpec{spec}).Wait(ctx)
		if err != nil && !errors.Is(err, logclient.ErrTopicExists) {
			return fmt.Errorf("create topic %q: %w", t.Name, err)
		}
	}
	return nil
}
