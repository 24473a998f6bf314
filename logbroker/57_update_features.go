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
// in force is granted, any other refused, and with it the whole request.
func (b *Broker) handleUpdateFeatures(r *request) {
	req := r.msg.(*kmsg.UpdateFeaturesRequest)
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	for _, u := range req.FeatureUpdates {
		err := checkFeature(u.Feature, u.MaxVersionLevel)
		if err == nil && req.Version > 0 && (u.UpgradeType < upgrade || u.UpgradeType > unsafeDowngrade) {
			err = fmt.Errorf("%w: there is no upgrade of type %d", kerr.InvalidUpdateVersion, u.UpgradeType)
		}
		if err != nil { // all or nothing
			resp.ErrorCode, resp.ErrorMessage = alterError(err)
			resp.Results = nil
			break
		}
		rr := kmsg.NewUpdateFeaturesResponseResult()
		rr.Feature = u.Feature
		if req.Version < 2 {
			resp.Results = append(resp.Results, rr)
		}
	}
	r.respond(resp)
}

// The first and the last of the types of upgrades.
const (
	upgrade         = 1
	unsafeDowngrade = 3
)

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
