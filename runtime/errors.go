package runtime

import (
	"fmt"
	"strconv"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/runtime/logclient"
	"github.com/levada/levada/runtime/topology"
)

// maxSkips bounds the records that one transaction can be replayed without.
const maxSkips = 10_000

// skipList holds the records that failed after they had effects: the replay of
// their transaction rejects them before they are processed.
type skipList struct {
	records map[logclient.TopicPartition]map[int64]*topology.RecordError
	n       int
}

func (l *skipList) add(p *poisonError) error {
	if l.n >= maxSkips {
		return fmt.Errorf("more than %d records of one transaction failed, the last: %w", maxSkips, p)
	}
	if l.records == nil {
		l.records = map[logclient.TopicPartition]map[int64]*topology.RecordError{}
	}
	if l.records[p.tp] == nil {
		l.records[p.tp] = map[int64]*topology.RecordError{}
	}
	l.records[p.tp][p.offset] = p.err
	l.n++
	return nil
}

// first returns the index of the first record to be rejected, -1 if none is.
func (l *skipList) first(tp logclient.TopicPartition, records []recordbatch.Record) int {
	offsets := l.records[tp]
	if len(offsets) == 0 {
		return -1
	}
	for i := range records {
		if offsets[records[i].Offset] != nil {
			return i
		}
	}
	return -1
}

func (l *skipList) reason(tp logclient.TopicPartition, offset int64) *topology.RecordError {
	return l.records[tp][offset]
}

// committed forgets the records that are before the committed positions.
func (l *skipList) committed(w *worker) {
	if l.n == 0 {
		return
	}
	w.eachInput(func(in *input) {
		for offset := range l.records[in.tp] {
			if offset < in.position {
				delete(l.records[in.tp], offset)
				l.n--
			}
		}
	})
}

// Headers of a dead letter.
const (
	HeaderErrorMessage   = "levada.error.message"
	HeaderErrorStage     = "levada.error.stage"
	HeaderErrorNode      = "levada.error.node"
	HeaderErrorApp       = "levada.error.app"
	HeaderErrorTopic     = "levada.error.topic"
	HeaderErrorPartition = "levada.error.partition"
	HeaderErrorOffset    = "levada.error.offset"
)

// maxErrorText bounds the message that travels with a dead letter.
const maxErrorText = 4 << 10

// reject does with a record that failed what Config.OnError says.
func (w *worker) reject(in *input, r *recordbatch.Record, cause *topology.RecordError) error {
	where := fmt.Sprintf("%s-%d offset %d", in.tp.Topic, in.tp.Partition, r.Offset)
	switch w.app.cfg.OnError {
	case Skip:
		w.log.Warn("record skipped", "record", where, "err", cause)
		w.app.stats.addSkipped()
		return nil
	case DeadLetter:
		w.app.stats.addDeadLetter()
		return w.deadLetter(in.tp, r, cause)
	}
	return fmt.Errorf("record %s: %w", where, cause)
}

// deadLetter writes the record as it was, with its own headers and the reason,
// to the dead-letter topic, in the open transaction.
func (w *worker) deadLetter(tp logclient.TopicPartition, r *recordbatch.Record, cause *topology.RecordError) error {
	if w.deadTo == nil {
		w.deadTo = w.outputs.partition(logclient.TopicPartition{Topic: w.app.cfg.DeadLetterTopic})
	}
	headers, err := r.Headers.Decode()
	if err != nil {
		headers = nil // part of what is wrong with it
	}
	text := cause.Err.Error()
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	for _, h := range [][2]string{
		{HeaderErrorMessage, text},
		{HeaderErrorStage, string(cause.Stage)},
		{HeaderErrorNode, cause.Node},
		{HeaderErrorApp, w.app.cfg.App},
		{HeaderErrorTopic, tp.Topic},
		{HeaderErrorPartition, strconv.Itoa(int(tp.Partition))},
		{HeaderErrorOffset, strconv.FormatInt(r.Offset, 10)},
	} {
		headers = append(headers, recordbatch.Header{Key: h[0], Value: []byte(h[1])})
	}
	return w.outputs.append(w.deadTo, r.Timestamp, r.Key, r.Value, recordbatch.EncodeHeaders(nil, headers))
}
