package logbroker

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleDescribeConfigs answers DescribeConfigs, versions 1 to 4, of topics, of
// consumer groups, and of the broker, whose configs cannot be changed.
func (b *Broker) handleDescribeConfigs(r *request) {
	req := r.msg.(*kmsg.DescribeConfigsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	type resource struct {
		kind kmsg.ConfigResourceType
		name string
	}
	nth := wholly[resource]{}
	for _, res := range once(req.Resources, func(res *kmsg.DescribeConfigsRequestResource) named[resource] {
		return nth.key(resource{res.ResourceType, res.ResourceName}, res.ConfigNames == nil)
	}) {
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ResourceType, rr.ResourceName = res.ResourceType, res.ResourceName
		rr.Configs = []kmsg.DescribeConfigsResponseResourceConfig{}
		switch res.ResourceType {
		case kmsg.ConfigResourceTypeTopic:
			t := b.topics.byName(res.ResourceName)
			if err := checkTopicName(res.ResourceName); err != nil {
				rr.ErrorCode, rr.ErrorMessage = alterError(err)
				break
			}
			if t == nil {
				rr.ErrorCode = kerr.UnknownTopicOrPartition.Code
				break
			}
			rr.Configs = chosenConfigs(res, b.describeConfigs(*t.configs.Load()))
		case kmsg.ConfigResourceTypeGroupConfig:
			if res.ResourceName == "" {
				rr.ErrorCode = kerr.InvalidRequest.Code
				break
			}
			rr.Configs = chosenConfigs(res, b.groupSettings.describe(res.ResourceName))
		case kmsg.ConfigResourceTypeBroker:
			switch res.ResourceName {
			case strconv.Itoa(int(b.cfg.NodeID)):
				rr.Configs = chosenConfigs(res, b.brokerConfigs())
				for i := range rr.Configs {
					rr.Configs[i].ReadOnly = true
				}
			case "": // what was changed for all brokers: nothing
			default:
				rr.ErrorCode, rr.ErrorMessage = alterError(b.noBroker(res.ResourceName))
			}
		case kmsg.ConfigResourceTypeBrokerLogger: // whose levels cannot be changed
			if res.ResourceName != strconv.Itoa(int(b.cfg.NodeID)) {
				rr.ErrorCode, rr.ErrorMessage = alterError(b.noBroker(res.ResourceName))
			}
		case kmsg.ConfigResourceTypeClientMetrics:
		default:
			rr.ErrorCode = kerr.InvalidRequest.Code
		}
		resp.Resources = append(resp.Resources, rr)
	}
	r.respond(resp)
}

func (b *Broker) noBroker(name string) error {
	return fmt.Errorf("%w: there is no broker %q; the only one is %d", kerr.InvalidRequest, name, b.cfg.NodeID)
}

// chosenConfigs are the configs that were asked for; all, if none is named.
func chosenConfigs(res kmsg.DescribeConfigsRequestResource, all []describedConfig) []kmsg.DescribeConfigsResponseResourceConfig {
	out := []kmsg.DescribeConfigsResponseResourceConfig{}
	for _, c := range all {
		if res.ConfigNames == nil || slices.Contains(res.ConfigNames, c.name) {
			out = append(out, describedRow(c))
		}
	}
	return out
}

func describedRow(c describedConfig) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value, out.ConfigType, out.Source = c.name, &c.value, c.kind, c.source
	out.IsDefault = c.source == kmsg.ConfigSourceDefaultConfig
	out.ConfigSynonyms = []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{}
	return out
}
