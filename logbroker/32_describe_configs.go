package logbroker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleDescribeConfigs answers DescribeConfigs, versions 1 to 4, of topics; a
// broker has none that can be told or changed by this request.
func (b *Broker) handleDescribeConfigs(r *request) {
	req := r.msg.(*kmsg.DescribeConfigsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, res := range req.Resources {
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = res.ResourceType, res.ResourceName
		rr.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		switch res.ResourceType {
		case kmsg.ConfigResourceTypeTopic:
			t := b.topics.byName(res.ResourceName)
			if t == nil {
				rr.ErrorCode = kerr.UnknownTopicOrPartition.Code
				break
			}
			for _, c := range b.describeConfigs(*t.configs.Load()) {
				if res.ConfigNames == nil || slices.Contains(res.ConfigNames, c.name) {
					rr.Configs = append(rr.Configs, describedRow(c))
				}
			}
		case kmsg.ConfigResourceTypeBroker:
		default:
			rr.ErrorCode = kerr.InvalidRequest.Code
		}
		resp.Resources = append(resp.Resources, rr)
	}
	r.respond(resp)
}

func describedRow(c describedConfig) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value, out.ConfigType, out.Source = c.name, &c.value, c.kind, c.source
	out.IsDefault = c.source == kmsg.ConfigSourceDefaultConfig
	out.ConfigSynonyms = []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{}
	return out
}
