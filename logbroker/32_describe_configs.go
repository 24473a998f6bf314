package logbroker

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleDescribeConfigs answers DescribeConfigs, versions 1 to 4, of topics, of
// consumer groups, and of the broker. Version 3 tells types, and documentation to who
// asks for it (KIP-569).
func (b *Broker) handleDescribeConfigs(r *request) {
	req := r.msg.(*kmsg.DescribeConfigsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	left := maxRoom
	repeats := repeatsIn[resource, kmsg.DescribeConfigsResponseResource](&left)
	for _, res := range req.Resources {
		if len(res.ConfigNames) > 0 { // what is told is named, too
			resp.Resources = append(resp.Resources, b.describeResource(req, res))
			continue
		}
		resp.Resources = repeats.add(resp.Resources, resource{res.ResourceType, res.ResourceName}, func() kmsg.DescribeConfigsResponseResource {
			return b.describeResource(req, res)
		})
	}
	r.respond(resp)
}

func (b *Broker) describeResource(req *kmsg.DescribeConfigsRequest, res kmsg.DescribeConfigsRequestResource) kmsg.DescribeConfigsResponseResource {
	rr := kmsg.NewDescribeConfigsResponseResource()
	rr.ResourceType, rr.ResourceName = res.ResourceType, res.ResourceName
	configs, err := b.configsOf(res.ResourceType, res.ResourceName)
	configs = chosenConfigs(res, configs)
	rr.Configs = make([]kmsg.DescribeConfigsResponseResourceConfig, len(configs))
	rr.ErrorCode, rr.ErrorMessage = alterError(err)
	for i, c := range configs {
		rr.Configs[i] = describedRow(c, req.IncludeSynonyms)
		if req.IncludeDocumentation && res.ResourceType != kmsg.ConfigResourceTypeBrokerLogger {
			rr.Configs[i].Documentation = documentation(c.name)
		}
	}
	return rr
}

// configsOf are all configs of what can have some.
func (b *Broker) configsOf(kind kmsg.ConfigResourceType, name string) ([]describedConfig, error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		if err := checkTopicName(name); err != nil {
			return nil, err
		}
		t := b.topics.byName(name)
		if t == nil {
			return nil, kerr.UnknownTopicOrPartition
		}
		return b.describeConfigs(*t.configs.Load()), nil
	case kmsg.ConfigResourceTypeGroupConfig:
		if name == "" {
			return nil, fmt.Errorf("%w: the group has no name", kerr.InvalidRequest)
		}
		return b.groupSettings.describe(name), nil
	case kmsg.ConfigResourceTypeBroker:
		if name == "" {
			return b.settings.Load().describeAll(), nil
		}
		if err := b.checkNode(name); err != nil {
			return nil, err
		}
		return b.settings.Load().describe(), nil
	case kmsg.ConfigResourceTypeBrokerLogger:
		if err := b.checkNode(name); err != nil {
			return nil, err
		}
		return b.loggers(), nil
	case kmsg.ConfigResourceTypeClientMetrics:
		if name == "" {
			return nil, fmt.Errorf("%w: the subscription has no name", kerr.InvalidRequest)
		}
		return nil, nil
	}
	return nil, fmt.Errorf("%w: resources of type %d have no configs", kerr.InvalidRequest, kind)
}

// chosenConfigs are the configs that were asked for; all, if none is named, be the list
// empty or null.
func chosenConfigs(res kmsg.DescribeConfigsRequestResource, all []describedConfig) []describedConfig {
	if len(res.ConfigNames) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(c describedConfig) bool { return !slices.Contains(res.ConfigNames, c.name) })
}

func describedRow(c describedConfig, synonyms bool) kmsg.DescribeConfigsResponseResourceConfig {
	told := func(value string) *string {
		if c.secret || value == "" && isNumber(c.kind) {
			return nil
		}
		return &value
	}
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value, out.ConfigType, out.Source = c.name, told(c.value), c.kind, c.source
	out.IsDefault = c.source == kmsg.ConfigSourceDefaultConfig
	out.ReadOnly, out.IsSensitive = c.fixed, c.secret
	out.ConfigSynonyms = []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{}
	if synonyms {
		for _, found := range c.found {
			s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
			s.Name, s.Value, s.Source = found.name, told(found.value), found.source
			out.ConfigSynonyms = append(out.ConfigSynonyms, s)
		}
	}
	return out
}
