package logbroker

import (
	"fmt"
	"io"
	"math"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// telemetryInterval is how often clients ask again whether somebody wants
	// their metrics, Kafka's default.
	telemetryIntervalMs = 5 * 60 * 1000
	telemetryMaxBytes   = 1 << 20
)

// handleGetTelemetrySubscriptions answers GetTelemetrySubscriptions, version 0
// (KIP-714): nobody wants the metrics of clients.
func (b *Broker) handleGetTelemetrySubscriptions(r *request) {
	req := r.msg.(*kmsg.GetTelemetrySubscriptionsRequest)
	resp := req.ResponseKind().(*kmsg.GetTelemetrySubscriptionsResponse)
	resp.ClientInstanceID = req.ClientInstanceID
	if resp.ClientInstanceID == ([16]byte{}) {
		if _, err := io.ReadFull(b.cfg.Rand, resp.ClientInstanceID[:]); err != nil {
			b.log.Error("client instance id", "error", fmt.Errorf("random bytes: %w", err))
			resp.ErrorCode = kerr.UnknownServerError.Code
		}
	}
	resp.SubscriptionID = 0
	resp.AcceptedCompressionTypes = []int8{4, 3, 1, 2} // zstd, lz4, gzip, snappy
	resp.PushIntervalMillis, resp.TelemetryMaxBytes = telemetryIntervalMs, telemetryMaxBytes
	resp.DeltaTemporality, resp.RequestedMetrics = true, []string{}
	r.respond(resp)
}

// handlePushTelemetry answers PushTelemetry, version 0: what nobody asked for is
// taken and dropped.
func (b *Broker) handlePushTelemetry(r *request) {
	req := r.msg.(*kmsg.PushTelemetryRequest)
	resp := req.ResponseKind().(*kmsg.PushTelemetryResponse)
	switch {
	case req.ClientInstanceID == ([16]byte{}) || req.SubscriptionID == math.MinInt32:
		resp.ErrorCode = kerr.InvalidRequest.Code
	case req.SubscriptionID != 0:
		resp.ErrorCode = kerr.UnknownSubscriptionID.Code
	case len(req.Metrics) > telemetryMaxBytes:
		resp.ErrorCode = kerr.TelemetryTooLarge.Code
	}
	r.respond(resp)
}
