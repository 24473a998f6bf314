package wire

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/levada/levada/runtime/logclient"
)

// Answer turns an error code of a response into an error that says what was
// asked; nil for code 0.
type Answer func(what string, code int16) error

// sentinels join errors of the protocol with what a worker acts on.
var sentinels = []struct {
	kafka *kerr.Error
	ours  error
}{
	{kerr.ProducerFenced, logclient.ErrFenced},
	{kerr.InvalidProducerEpoch, logclient.ErrFenced},
	{kerr.InvalidProducerIDMapping, logclient.ErrFenced},
	{kerr.FencedInstanceID, logclient.ErrFenced},
	{kerr.TransactionAbortable, logclient.ErrAborted},
	{kerr.InvalidTxnState, logclient.ErrAborted},
	{kerr.UnknownMemberID, logclient.ErrAborted},
	{kerr.IllegalGeneration, logclient.ErrAborted},
	{kerr.RebalanceInProgress, logclient.ErrAborted},
	{kerr.UnknownTopicOrPartition, logclient.ErrUnknownTopic},
	{kerr.UnknownTopicID, logclient.ErrUnknownTopic},
	{kerr.TopicAlreadyExists, logclient.ErrTopicExists},
	{kerr.UnstableOffsetCommit, logclient.ErrUnstable},
	{kerr.OffsetOutOfRange, logclient.ErrOffsetGone},
	{kerr.MessageTooLarge, logclient.ErrTooLarge},
	{kerr.RecordListTooLarge, logclient.ErrTooLarge},
	{kerr.InvalidTimestamp, logclient.ErrRefused},
	{kerr.InvalidRecord, logclient.ErrRefused},
	{kerr.InvalidConfig, logclient.ErrInvalidConfig},
	{kerr.CoordinatorNotAvailable, logclient.ErrUnreachable},
	{kerr.CoordinatorLoadInProgress, logclient.ErrUnreachable},
	{kerr.NotCoordinator, logclient.ErrUnreachable},
	{kerr.BrokerNotAvailable, logclient.ErrUnreachable},
	{kerr.LeaderNotAvailable, logclient.ErrUnreachable},
	{kerr.NotLeaderForPartition, logclient.ErrUnreachable},
}

// Sentinel finds the error of logclient that an error of the protocol means;
// nil if there is none.
func Sentinel(err error) error {
	for _, s := range sentinels {
		if errors.Is(err, s.kafka) {
			return s.ours
		}
	}
	return nil
}

// Moved tells whether a commit was refused because the group has a new
// generation, in which the partitions may still be the member's.
func Moved(err error) bool {
	return errors.Is(err, kerr.IllegalGeneration) || errors.Is(err, kerr.RebalanceInProgress)
}
