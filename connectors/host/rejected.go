package host

import (
	"context"
	"fmt"
	"slices"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
)

// rejected makes records that the target refuses safe elsewhere, and then lets
// the plugin go on without them. A dead letter and the note that it is written
// are one transaction, so that each is written once, though the plugin may
// reject a record again after a restart.
func (r *sinkSession) rejected(ctx context.Context, rejections []*proto.Rejection) error {
	letters := 0
	for _, j := range rejections {
		tp := logclient.TopicPartition{Topic: j.Topic, Partition: j.Partition}
		if r.isRejected(tp, j.Offset) {
			continue
		}
		letters++
		err := r.flight.find(tp, j.Offset, func(rec *recordbatch.Record) error { return r.letter(tp, rec, j.Reason) })
		if err != nil {
			return err
		}
		r.noteRejected(tp, j.Offset)
	}
	if letters > 0 && r.letters != nil {
		if err := r.letters.flush(); err != nil {
			return r.config.logError("dead letter", err)
		}
		if err := r.claim.putState(); err != nil {
			return err
		}
		if err := r.claim.commit(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		r.letters.committed()
	}
	r.sink.status.update(func(s *Status) { s.DeadLetters += int64(letters) })
	return r.send(&proto.SinkCommand{Command: &proto.SinkCommand_RejectionsStored{RejectionsStored: &proto.RejectionsStored{}}})
}

// letter treats one rejected record as OnError says.
func (r *sinkSession) letter(tp logclient.TopicPartition, rec *recordbatch.Record, reason string) error {
	switch r.config.OnError {
	case OnErrorFail:
		return r.config.refuse("write", "correct the record's origin, or set on_error to dead_letter or skip",
			fmt.Errorf("%s/%d offset %d: %s", tp.Topic, tp.Partition, rec.Offset, reason))
	case OnErrorSkip:
		r.config.Logger.Warn("record skipped", "topic", tp.Topic, "partition", tp.Partition, "offset", rec.Offset, "reason", reason)
		return nil
	}
	headers, err := letterHeaders(rec.Headers,
		HeaderErrorMessage, reason, HeaderErrorStage, "sink", HeaderErrorConnector, r.config.Name,
		HeaderErrorTopic, tp.Topic, HeaderErrorPartition, decimal(int64(tp.Partition)), HeaderErrorOffset, decimal(rec.Offset))
	if err != nil {
		return err
	}
	if err := r.letters.add(rec.Timestamp, rec.Key, rec.Value, headers); err != nil {
		return r.config.logError("dead letter", err)
	}
	return nil
}

func rejectedName(tp logclient.TopicPartition) string {
	return fmt.Sprintf("%s/%d", tp.Topic, tp.Partition)
}

func (r *sinkSession) isRejected(tp logclient.TopicPartition, offset int64) bool {
	return slices.Contains(r.claim.state.Rejected[rejectedName(tp)], offset)
}

func (r *sinkSession) noteRejected(tp logclient.TopicPartition, offset int64) {
	if r.claim.state.Rejected == nil {
		r.claim.state.Rejected = map[string][]int64{}
	}
	name := rejectedName(tp)
	r.claim.state.Rejected[name] = append(r.claim.state.Rejected[name], offset)
}

// forgetRejected drops the notes of records that the target has passed: they
// will not be rejected again.
func (r *sinkSession) forgetRejected(tp logclient.TopicPartition, next int64) {
	name := rejectedName(tp)
	offsets, ok := r.claim.state.Rejected[name]
	if !ok {
		return
	}
	offsets = slices.DeleteFunc(offsets, func(o int64) bool { return o < next })
	r.claim.state.Rejected[name] = offsets
	if len(offsets) == 0 {
		delete(r.claim.state.Rejected, name)
	}
}
