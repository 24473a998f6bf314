package kafka

import (
	"context"
	"maps"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/logclient/wire"
)

// ListOffsets implements logclient.Offsets.
func (a admin) ListOffsets(tps []logclient.TopicPartition, spec logclient.OffsetSpec) *logclient.Pending[wire.Positions] {
	return ask(a, func(ctx context.Context) (wire.Positions, error) {
		out, late, err := a.listOffsets(ctx, tps, spec)
		if err != nil || spec.Kind != logclient.AtTimestamp || len(late) == 0 {
			return out, err
		}
		// Where no record is late enough it is the high watermark.
		ends, _, err := a.listOffsets(ctx, late, logclient.OffsetSpec{Kind: logclient.LatestHigh})
		maps.Copy(out, ends)
		return out, err
	})
}

func (a admin) listOffsets(ctx context.Context, tps []logclient.TopicPartition, spec logclient.OffsetSpec) (wire.Positions, []logclient.TopicPartition, error) {
	resp, err := send[*kmsg.ListOffsetsResponse](ctx, a, wire.ListOffsets(tps, spec))
	if err != nil {
		return nil, nil, err
	}
	return wire.ListedOffsets(resp, a.c.answer)
}

// CommittedOffsets implements logclient.Offsets.
func (a admin) CommittedOffsets(group string, tps []logclient.TopicPartition, stable bool) *logclient.Pending[wire.Positions] {
	return ask(a, func(ctx context.Context) (wire.Positions, error) {
		resp, err := send[*kmsg.OffsetFetchResponse](ctx, a, wire.FetchOffsets(group, tps, stable))
		if err != nil {
			return nil, err
		}
		return wire.FetchedOffsets(resp, a.c.answer)
	})
}

// EpochEnd implements logclient.Offsets.
func (a admin) EpochEnd(tp logclient.TopicPartition, leaderEpoch int32) *logclient.Pending[logclient.Position] {
	return ask(a, func(ctx context.Context) (logclient.Position, error) {
		resp, err := send[*kmsg.OffsetForLeaderEpochResponse](ctx, a, wire.EpochEnd(tp, leaderEpoch))
		if err != nil {
			return logclient.Position{}, err
		}
		return wire.EndOfEpoch(resp, a.c.answer)
	})
}
