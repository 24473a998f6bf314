package logbroker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// feature is a feature level of KIP-584 that this broker has. It is fixed: the
// program brings it.
type feature struct {
	name  string
	level int16
}

// features are told by ApiVersions. transaction.version 2 is KIP-890, whose
// clients get a new epoch with every transaction; group.version 1 is KIP-848.
var features = []feature{{"group.version", 1}, {"transaction.version", 2}}

// handleUpdateFeatures answers UpdateFeatures, versions 0 to 2: a level that is
// in force is granted, any other refused.
func (b *Broker) handleUpdateFeatures(r *request) {
	req := r.msg.(*kmsg.UpdateFeaturesRequest)
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	var failed error
	for _, u := range req.FeatureUpdates {
		err := checkFeature(u.Feature, u.MaxVersionLevel)
		if failed == nil {
			failed = err
		}
		rr := kmsg.NewUpdateFeaturesResponseResult()
		rr.Feature = u.Feature
		if req.Version < 2 {
			resp.Results = append(resp.Results, rr)
		}
	}
	if failed != nil { // all or nothing (KIP-1022)
		resp.ErrorCode, resp.ErrorMessage = alterError(failed)
		resp.Results = nil
	}
	r.respond(resp)
}

func checkFeature(name string, level int16) error {
	for _, f := range features {
		switch {
		case f.name != name:
		case f.level == level:
			return nil
		default:
			return fmt.Errorf("%w: %s is at %d and cannot be changed to %d", kerr.InvalidUpdateVersion, name, f.level, level)
		}
	}
	return fmt.Errorf("%w: there is no feature %q", kerr.InvalidUpdateVersion, name)
}
