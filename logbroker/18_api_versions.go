package logbroker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// transactionVersion is the level of the feature transaction.version: 2 is
// KIP-890, whose clients get a new epoch with every transaction.
const transactionVersion = 2

// handleApiVersions answers ApiVersions, versions 0 to 4. Finalized features are
// told from version 3 on; supported ones only from 4, because Java clients
// before 3.8 fail on a feature whose minimum is 0 (KAFKA-17011).
func (b *Broker) handleApiVersions(r *request) {
	req := r.msg.(*kmsg.ApiVersionsRequest)
	r.respond(b.apiVersions(req.Version))
}

func (b *Broker) apiVersions(version int16) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = version
	var keys []int16
	for key := range b.handlers {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		h := b.handlers[key]
		k := kmsg.NewApiVersionsResponseApiKey()
		k.ApiKey, k.MinVersion, k.MaxVersion = key, h.min, h.max
		resp.ApiKeys = append(resp.ApiKeys, k)
	}
	if version < 3 {
		return resp
	}
	s := kmsg.NewApiVersionsResponseSupportedFeature()
	s.Name, s.MinVersion, s.MaxVersion = "transaction.version", 0, transactionVersion
	if version >= 4 {
		resp.SupportedFeatures = append(resp.SupportedFeatures, s)
	}
	f := kmsg.NewApiVersionsResponseFinalizedFeature()
	f.Name, f.MinVersionLevel, f.MaxVersionLevel = "transaction.version", transactionVersion, transactionVersion
	resp.FinalizedFeatures = append(resp.FinalizedFeatures, f)
	resp.FinalizedFeaturesEpoch = int64(b.epoch)
	return resp
}

// refuseVersion answers a request whose version is not served: ApiVersions with
// what is, in version 0; the others with an error if they have a place for one.
func (b *Broker) refuseVersion(r *request) {
	if r.msg.Key() == int16(kmsg.ApiVersions) {
		resp := b.apiVersions(0)
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		r.respond(resp)
		return
	}
	r.conn.fail(kerr.UnsupportedVersion)
	r.respond(nil)
}
