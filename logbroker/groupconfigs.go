package logbroker

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/group"
	"github.com/levada/levada/logbroker/meta"
)

// groupConfigTable are the configs that a consumer group can have (KIP-848), with
// Kafka's names, defaults and bounds.
var groupConfigTable = []configRow{
	{"consumer.assignment.interval.ms", kmsg.ConfigTypeInt, "1000", between(0, 15000), "group.consumer.assignment.interval.ms"},
	{"consumer.heartbeat.interval.ms", kmsg.ConfigTypeInt, "5000", between(5000, 15000), "group.consumer.heartbeat.interval.ms"},
	{"consumer.session.timeout.ms", kmsg.ConfigTypeInt, "45000", between(45000, 60000), "group.consumer.session.timeout.ms"},
}

// groupConfigs are the configs set for single groups.
type groupConfigs struct {
	b   *Broker
	mu  sync.Mutex
	set map[string]map[string]string
}

func (c *groupConfigs) open(b *Broker) error {
	c.b, c.set = b, map[string]map[string]string{}
	return b.meta.Settings(meta.GroupConfigs, func(name string, value []byte) error {
		var configs map[string]string
		err := json.Unmarshal(value, &configs)
		c.set[name] = configs
		return err
	})
}

// configured lists the groups that have configs of their own.
func (c *groupConfigs) configured() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.set))
}

// describe lists the configs of a group.
func (c *groupConfigs) describe(group string) []describedConfig {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Clone(c.b.settings.Load().groups)
	for i, d := range out {
		if v, ok := c.set[group][d.name]; ok {
			out[i] = d.set(v, configSourceGroup)
		}
	}
	return out
}

// configSourceGroup is DYNAMIC_GROUP_CONFIG (KIP-1016), which the client library
// has no name for.
const configSourceGroup kmsg.ConfigSource = 8

// times are what the configs of a group say.
func (c *groupConfigs) times(id string) (t group.Times) {
	for _, d := range c.describe(id) {
		ms, _ := strconv.ParseInt(d.value, 10, 32) // was checked
		switch value := time.Duration(ms) * time.Millisecond; d.name {
		case "consumer.session.timeout.ms":
			t.Session = value
		case "consumer.heartbeat.interval.ms":
			t.Heartbeat = value
		case "consumer.assignment.interval.ms":
			t.Assignment = value
		}
	}
	return t
}

// configureGroup replaces the configs of a group, durably; change is given a
// copy.
func (b *Broker) configureGroup(group string, validateOnly bool, change func(map[string]string) error) error {
	if group == "" || len(group) > math.MaxInt16 {
		return fmt.Errorf("%w: name a group", kerr.InvalidRequest)
	}
	c := &b.groupSettings
	c.mu.Lock()
	defer c.mu.Unlock()
	configs := map[string]string{}
	maps.Copy(configs, c.set[group])
	if err := change(configs); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		row := rowNamed(groupConfigTable, name)
		if row == nil {
			return fmt.Errorf("%w: there is no group config %q", kerr.InvalidConfig, name)
		}
		value, err := row.take(configs[name])
		if err != nil {
			return fmt.Errorf("%w: %w", kerr.InvalidConfig, err)
		}
		configs[name] = value
	}
	if validateOnly {
		return nil
	}
	if len(c.set) >= maxGroups && c.set[group] == nil {
		return fmt.Errorf("%w: %d groups have configs, more cannot", kerr.PolicyViolation, maxGroups)
	}
	batch := b.meta.NewBatch()
	if len(configs) == 0 {
		batch.DeleteSetting(meta.GroupConfigs, group)
	} else {
		value, err := json.Marshal(configs)
		if err != nil {
			return err
		}
		batch.PutSetting(meta.GroupConfigs, group, value)
	}
	if err := b.commitNew(batch); err != nil {
		return kerr.KafkaStorageError
	}
	if len(configs) == 0 {
		delete(c.set, group)
	} else {
		c.set[group] = configs
	}
	return nil
}
