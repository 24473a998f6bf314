package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// handleIncrementalAlterConfigs answers IncrementalAlterConfigs, versions 0 and
// 1 (KIP-339): single configs are set, deleted, or changed as lists. A resource that
// is named twice is not changed.
func (b *Broker) handleIncrementalAlterConfigs(r *request) {
	req := r.msg.(*kmsg.IncrementalAlterConfigsRequest)
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	twice := resourcesTwice(req.Resources, incrementalResource)
	b.spawn(func() {
		for _, res := range req.Resources {
			rr := kmsg.NewIncrementalAlterConfigsResponseResource()
			rr.ResourceType, rr.ResourceName = res.ResourceType, res.ResourceName
			rr.ErrorCode, rr.ErrorMessage = alterError(b.alterIncrementally(res, twice, req.ValidateOnly))
			resp.Resources = append(resp.Resources, rr)
		}
		r.respond(resp)
	})
}

func (b *Broker) alterIncrementally(res kmsg.IncrementalAlterConfigsRequestResource, twice map[configResource]bool, validateOnly bool) error {
	unique := func() error {
		return namedTwice(res.Configs, func(c kmsg.IncrementalAlterConfigsRequestResourceConfig) string { return c.Name })
	}
	if res.ResourceType == kmsg.ConfigResourceTypeBrokerLogger && !twice[incrementalResource(res)] {
		if err := unique(); err != nil {
			return err
		}
		return b.alterLoggers(res, validateOnly)
	}
	return b.alterResource(incrementalResource(res), twice, validateOnly, func(configs map[string]string) error {
		if err := unique(); err != nil {
			return err
		}
		for _, c := range res.Configs {
			err := applyOp(configs, configOf(res.ResourceType, c.Name), c)
			if err == nil && c.Op != kmsg.IncrementalAlterConfigOpDelete {
				err = checkConfigSize(c.Name, configs[c.Name])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// configResource names what has configs.
type configResource struct {
	kind kmsg.ConfigResourceType
	name string
}

func incrementalResource(res kmsg.IncrementalAlterConfigsRequestResource) configResource {
	return configResource{res.ResourceType, res.ResourceName}
}

// resourcesTwice has the resources that a request names more than once.
func resourcesTwice[R any](resources []R, is func(R) configResource) map[configResource]bool {
	twice := map[configResource]bool{}
	for _, res := range resources {
		r := is(res)
		_, twice[r] = twice[r]
	}
	return twice
}

// applyOp changes one of configs, whose row is nil if there is none of that name.
func applyOp(configs map[string]string, row *configRow, c kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	switch c.Op {
	case kmsg.IncrementalAlterConfigOpDelete:
		delete(configs, c.Name)
		return nil
	case kmsg.IncrementalAlterConfigOpSet:
		if c.Value != nil {
			configs[c.Name] = *c.Value
			return nil
		}
	case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
		if c.Value != nil {
			return row.listChange(configs, c.Name, *c.Value, c.Op == kmsg.IncrementalAlterConfigOpAppend)
		}
	}
	return fmt.Errorf("%w: operation %d on %s", kerr.InvalidRequest, c.Op, c.Name)
}
