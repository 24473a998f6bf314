package logbroker

import (
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// clientSoftware is what a client may call itself (KIP-511).
var clientSoftware = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// handleApiVersions answers ApiVersions, versions 0 to 5. Finalized features are
// told from version 3 on; supported ones only from 4, because Java clients
// before 3.8 fail on a feature whose minimum is 0 (KAFKA-17011). Version 5 says
// whom the client believes to be talking to (KIP-1242).
func (b *Broker) handleApiVersions(r *request) {
	req := r.msg.(*kmsg.ApiVersionsRequest)
	resp := b.apiVersions(req.Version)
	switch {
	case req.Version >= 3 && (!clientSoftware.MatchString(req.ClientSoftwareName) || !clientSoftware.MatchString(req.ClientSoftwareVersion)),
		req.Version >= 5 && (req.ClusterID == nil) != (req.NodeID == -1):
		resp = kmsg.NewPtrApiVersionsResponse()
		resp.Version, resp.ErrorCode = req.Version, kerr.InvalidRequest.Code
	case req.Version >= 5 && req.ClusterID != nil && (*req.ClusterID != b.cfg.ClusterID || req.NodeID != b.cfg.NodeID):
		resp = kmsg.NewPtrApiVersionsResponse()
		resp.Version, resp.ErrorCode = req.Version, kerr.RebootstrapRequired.Code
	}
	r.respond(resp)
}

func (b *Broker) apiVersions(version int16) *kmsg.ApiVersionsResponse {
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.Version = version
	var keys []int16
	for key := range b.handlers {
		if key != int16(kmsg.GetTelemetrySubscriptions) && key != int16(kmsg.PushTelemetry) { // nobody wants them
			keys = append(keys, key)
		}
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
	for _, f := range features {
		s := kmsg.NewApiVersionsResponseSupportedFeature()
		s.Name, s.MinVersion, s.MaxVersion = f.name, 0, f.level
		if version >= 4 {
			resp.SupportedFeatures = append(resp.SupportedFeatures, s)
		}
		l := kmsg.NewApiVersionsResponseFinalizedFeature()
		l.Name, l.MinVersionLevel, l.MaxVersionLevel = f.name, f.level, f.level
		resp.FinalizedFeatures = append(resp.FinalizedFeatures, l)
	}
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
