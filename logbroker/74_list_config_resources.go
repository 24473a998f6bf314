package logbroker

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleListConfigResources answers ListConfigResources, versions 0 and 1
// (KIP-1142): what can have configs. Version 0 lists client metrics, of which
// there are none.
func (b *Broker) handleListConfigResources(r *request) {
	req := r.msg.(*kmsg.ListConfigResourcesRequest)
	resp := req.ResponseKind().(*kmsg.ListConfigResourcesResponse)
	resp.ConfigResources = []kmsg.ListConfigResourcesResponseConfigResource{}
	if req.Version == 0 {
		r.respond(resp)
		return
	}
	kinds := req.ResourceTypes
	if len(kinds) == 0 {
		for _, kind := range []kmsg.ConfigResourceType{kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger, kmsg.ConfigResourceTypeGroupConfig} {
			kinds = append(kinds, int8(kind))
		}
	}
	for i, kind := range kinds {
		if slices.Contains(kinds[:i], kind) {
			continue
		}
		names, err := b.configResources(kmsg.ConfigResourceType(kind))
		if err != nil {
			resp.ErrorCode = errorCode(err)
			resp.ConfigResources = []kmsg.ListConfigResourcesResponseConfigResource{}
			break
		}
		for _, name := range names {
			c := kmsg.NewListConfigResourcesResponseConfigResource()
			c.Name, c.Type = name, kind
			resp.ConfigResources = append(resp.ConfigResources, c)
		}
	}
	r.respond(resp)
}

func (b *Broker) configResources(kind kmsg.ConfigResourceType) (names []string, err error) {
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		for _, t := range b.topics.sorted() {
			names = append(names, t.name)
		}
	case kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger:
		names = append(names, strconv.Itoa(int(b.cfg.NodeID)))
	case kmsg.ConfigResourceTypeGroupConfig:
		names = b.groupSettings.configured()
	case kmsg.ConfigResourceTypeClientMetrics:
	default:
		return nil, kerr.UnsupportedVersion
	}
	return names, nil
}
