package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleAlterConfigs answers AlterConfigs, versions 0 to 2: all configs of a
// topic are replaced. A resource that is named twice is not changed.
func (b *Broker) handleAlterConfigs(r *request) {
	req := r.msg.(*kmsg.AlterConfigsRequest)
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	of := func(res kmsg.AlterConfigsRequestResource) configResource {
		return configResource{res.ResourceType, res.ResourceName}
	}
	twice := resourcesTwice(req.Resources, of)
	b.spawn(func() {
		for _, res := range req.Resources {
			rr := kmsg.NewAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = res.ResourceType, res.ResourceName
			err := b.alterResource(of(res), twice, req.ValidateOnly, func(configs map[string]string) error {
				err := namedTwice(res.Configs, func(c kmsg.AlterConfigsRequestResourceConfig) string { return c.Name })
				if err != nil {
					return err
				}
				clear(configs)
				for _, c := range res.Configs {
					if c.Value == nil {
						return fmt.Errorf("%w: %s is null", kerr.InvalidRequest, c.Name)
					}
					if err := checkConfigSize(c.Name, *c.Value); err != nil {
						return err
					}
					configs[c.Name] = *c.Value
				}
				return nil
			})
			rr.ErrorCode, rr.ErrorMessage = alterError(err)
			resp.Resources = append(resp.Resources, rr)
		}
		r.respond(resp)
	})
}

// alterResource changes the configs of a resource that is not among those named twice.
func (b *Broker) alterResource(res configResource, twice map[configResource]bool, validateOnly bool, change func(map[string]string) error) error {
	if twice[res] {
		return fmt.Errorf("%w: the resource is named twice", kerr.InvalidRequest)
	}
	name := res.name
	switch res.kind {
	case kmsg.ConfigResourceTypeTopic:
		return b.topics.configure(name, validateOnly, change)
	case kmsg.ConfigResourceTypeGroupConfig:
		err := b.configureGroup(name, validateOnly, change)
		b.coordinator().reschedule(name) // its members may be silent for less long now
		return err
	case kmsg.ConfigResourceTypeBroker:
		return b.configureBroker(name, validateOnly, change)
	}
	return fmt.Errorf("%w: resources of type %d have no configs", kerr.InvalidRequest, res.kind)
}

func alterError(err error) (code int16, message *string) {
	if err == nil {
		return 0, nil
	}
	text := errorMessage(err)
	return errorCode(err), &text
}
