package logbroker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/internal/recordbatch"
)

// TestUnreadableRecords: a batch that some reader could not read is refused, with what
// is wrong, whatever codec it has and though its checksum is right.
func TestUnreadableRecords(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith()
	good := w.keyed(w.now, "a=1", "b=2")
	packed := func(c recordbatch.Codec, b recordbatch.Batch) recordbatch.Batch {
		out, err := new(recordbatch.Reader).Recode(nil, b, c, 0)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	counts := func(n byte) func(recordbatch.Batch) {
		return func(b recordbatch.Batch) { b[57+3], b[23+3] = n, n-1 }
	}
	cases := []struct {
		name   string
		change func(recordbatch.Batch)
		says   string
		codecs bool // the same with every codec
		packed bool // it is the compression that is wrong
	}{
		{"a record longer than the batch", func(b recordbatch.Batch) { b[recordbatch.HeaderSize] = 0x7e }, "63 bytes in 18", false, false},
		{"one record, and the batch says three", counts(3), "record 2 of 3", true, false},
		{"two records, and the batch says one", counts(1), "behind 1 records", true, false},
		{"offsets that do not follow each other", func(b recordbatch.Batch) { b[recordbatch.HeaderSize+3] = 8 }, "offset 4", false, false},
		{"headers that are not there", func(b recordbatch.Batch) { b[len(b)-1] = 4 }, "2 headers", false, false},
		{"gzip that is none", func(b recordbatch.Batch) { b[22] |= byte(recordbatch.CodecGzip) }, "gzip", false, true},
		{"zstd that is none", func(b recordbatch.Batch) { b[22] |= byte(recordbatch.CodecZstd) }, "zstd", false, true},
		{"a codec that does not exist", func(b recordbatch.Batch) { b[22] |= 5 }, "codec 5", false, true},
	}
	for _, c := range cases {
		codecs := []recordbatch.Codec{recordbatch.CodecNone}
		if c.codecs {
			codecs = append(codecs, recordbatch.CodecGzip, recordbatch.CodecSnappy, recordbatch.CodecLZ4, recordbatch.CodecZstd)
		}
		for _, codec := range codecs {
			b := packed(codec, good)
			c.change(b)
			b.SetCRC()
			answer := w.produce(13, nil, 0, b)
			want := kerr.InvalidRecord
			if c.packed {
				want = kerr.UnknownServerError
			}
			w.want(answer.ErrorCode, want)
			if answer.ErrorMessage == nil || !strings.Contains(*answer.ErrorMessage, c.says) {
				t.Errorf("%s, codec %d: %v, want %q", c.name, codec, *answer.ErrorMessage, c.says)
			}
		}
	}
	for codec := recordbatch.CodecNone; codec <= recordbatch.CodecZstd; codec++ {
		w.want(w.produce(13, nil, 0, packed(codec, good)).ErrorCode, nil)
	}
	if got := w.records(); len(got) != 10 {
		t.Errorf("%d records, want the 10 of the good batches", len(got))
	}
}

// timesOf are attributes, times of the header and of each record of the first batch of
// topic "t" from an offset on, less the clock.
func (w *workbench) timesOf(offset int64) string {
	w.t.Helper()
	res, err := w.Fetch("t", 0, offset, false, 1, nil)
	if err != nil || len(res.Batches) == 0 {
		w.t.Fatalf("fetch: %d bytes, %v", len(res.Batches), err)
	}
	b, now := recordbatch.Batch(res.Batches), w.now.UnixMilli()
	if err := b.Validate(); err != nil {
		w.t.Fatal(err)
	}
	var times []int64
	w.eachRecord(b, offset, func(r *recordbatch.Record) { times = append(times, r.Timestamp-now) })
	return fmt.Sprint(b.Attributes(), " ", b.BaseTimestamp()-now, " ", b.MaxTimestamp()-now, " ", times)
}

// offsetAt is the answer of ListOffsets for topic "t".
func (w *workbench) offsetAt(ms int64) int64 {
	w.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 8, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = "t"
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp, p.CurrentLeaderEpoch = ms, -1
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	answer := ask[*kmsg.ListOffsetsResponse](w, req).Topics[0].Partitions[0]
	w.want(answer.ErrorCode, nil)
	return answer.Offset
}

// TestClaimedAppendTime: a batch that says LogAppendTime is none of a topic with that;
// in one with CreateTime its largest time counts for each record, and is all that it
// changes: the records keep their own, unless they are written anew.
func TestClaimedAppendTime(t *testing.T) {
	const never = math.MinInt64
	bounded := []string{"message.timestamp.before.max.ms=10000", "message.timestamp.after.max.ms=10000"}
	for _, c := range []struct {
		name    string
		configs []string
		claim   int64 // from the clock
		refused bool
		want    string
	}{
		{"a little later", nil, 5, false, "0 0 5 [0 0]"},
		{"long ago", nil, -3_600_000, false, "0 0 -3600000 [0 0]"},
		{"ahead of what may be", nil, 3_600_001, true, ""},
		{"as far ahead as may be", nil, 3_600_000, false, "0 0 3600000 [0 0]"},
		{"no time", nil, never, true, ""},
		{"within bounds", bounded, -10_000, false, "0 0 -10000 [0 0]"},
		{"before them", bounded, -10_001, true, ""},
		{"behind them", bounded, 10_001, true, ""},
		{"written anew", []string{"compression.type=zstd"}, 5, false, "4 5 5 [5 5]"},
		{"compacted", []string{"cleanup.policy=compact"}, 5, false, "0 0 5 [0 0]"},
		{"before 1970, written anew", []string{"compression.type=zstd"}, -1_700_000_000_005, true, ""},
		{"of the broker's time", []string{"message.timestamp.type=LogAppendTime"}, 5, true, ""},
	} {
		for _, codec := range []recordbatch.Codec{recordbatch.CodecNone, recordbatch.CodecGzip} {
			t.Run(fmt.Sprintf("%s/%d", c.name, codec), func(t *testing.T) {
				w := newWorkbench(t)
				w.topicWith(c.configs...)
				batch, err := new(recordbatch.Reader).Recode(nil, w.keyed(w.now, "a=1", "b=2"), codec, 0)
				if err != nil {
					t.Fatal(err)
				}
				claim := w.now.UnixMilli() + c.claim
				if c.claim == never {
					claim = recordbatch.NoTimestamp
				}
				batch.SetLogAppendTime(claim)
				batch.SetCRC()
				answer := w.produce(13, nil, 0, batch)
				if c.refused && claim < recordbatch.NoTimestamp {
					w.want(answer.ErrorCode, kerr.UnknownServerError)
					return
				}
				if c.refused {
					w.want(answer.ErrorCode, kerr.InvalidTimestamp)
					if len(answer.ErrorRecords) != 2 || answer.ErrorMessage == nil {
						t.Errorf("named records: %v", answer.ErrorRecords)
					}
					return
				}
				w.want(answer.ErrorCode, nil)
				want := c.want
				if codec != recordbatch.CodecNone && want[0] == '0' {
					want = fmt.Sprint(int(codec), want[1:])
				}
				// The largest time is the claim, if a record has it.
				newest := w.offsetAt(-3)
				if found := strings.Contains(c.want, fmt.Sprintf("[%d", c.claim)); found != (newest == 0) {
					t.Errorf("the largest time is that of offset %d", newest)
				}
				if got := w.timesOf(0); got != want || answer.LogAppendTime != -1 {
					t.Errorf("stored: %s, want %s; append time %d", got, want, answer.LogAppendTime)
				}
			})
		}
	}
}

// TestLargestTimeIsOfTheRecords: what the header of a batch says of the times of its
// records is neither held against the rules of its topic nor stored.
func TestLargestTimeIsOfTheRecords(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("message.timestamp.before.max.ms=10000")
	send := func(at time.Time, header int64) kmsg.ProduceResponseTopicPartition {
		t.Helper()
		batch := w.keyed(at, "a=1", "b=2")
		batch.SetCreateTime(header)
		batch.SetCRC()
		return w.produce(13, nil, 0, batch)
	}
	now := w.now.UnixMilli()
	for i, header := range []int64{now + 1<<40, now, 0, recordbatch.NoTimestamp, math.MinInt64} {
		w.want(send(w.now.Add(5*time.Millisecond), header).ErrorCode, nil)
		if got := w.timesOf(int64(2 * i)); got != "0 5 5 [5 5]" {
			t.Errorf("header %d: stored %s", header, got)
		}
	}
	for _, wrong := range []time.Time{w.now.Add(time.Hour + time.Millisecond), w.now.Add(-10_001 * time.Millisecond), time.UnixMilli(-2)} {
		answer := send(wrong, now)
		w.want(answer.ErrorCode, kerr.InvalidTimestamp)
		if !slices.ContainsFunc(answer.ErrorRecords, func(r kmsg.ProduceResponseTopicPartitionErrorRecord) bool { return r.RelativeOffset == 1 }) {
			t.Errorf("%v: named records: %v", wrong, answer.ErrorRecords)
		}
	}
	w.want(send(time.UnixMilli(recordbatch.NoTimestamp), now).ErrorCode, nil)
}

// TestWrongTimesAndKeys: a batch whose records are refused for their times and for
// their keys is refused for the times, and all are named.
func TestWrongTimesAndKeys(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("cleanup.policy=compact")
	var b recordbatch.Builder
	b.Append(w.now.UnixMilli(), nil, []byte("no key"), nil)
	b.Append(w.now.Add(2*time.Hour).UnixMilli(), []byte("k"), []byte("v"), nil)
	batch := b.Batch()
	batch.SetCRC()
	answer := w.produce(13, nil, 0, batch)
	w.want(answer.ErrorCode, kerr.InvalidTimestamp)
	if len(answer.ErrorRecords) != 2 {
		t.Errorf("named records: %v", answer.ErrorRecords)
	}
}

// TestTimesBehindManyKeys: records are looked at beyond those that an answer names, for
// the times of the others decide which error it is.
func TestTimesBehindManyKeys(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("cleanup.policy=compact")
	var b recordbatch.Builder
	for range maxRecordFaults + 1 {
		b.Append(w.now.UnixMilli(), nil, []byte("no key"), nil)
	}
	b.Append(w.now.Add(2*time.Hour).UnixMilli(), []byte("k"), []byte("v"), nil)
	batch := b.Batch()
	batch.SetCRC()
	answer := w.produce(13, nil, 0, batch)
	w.want(answer.ErrorCode, kerr.InvalidTimestamp)
	if len(answer.ErrorRecords) != maxRecordFaults {
		t.Errorf("%d named records", len(answer.ErrorRecords))
	}
}

// TestRulesOfBuiltBatches: who is in this process is held to the rules of the topic about
// keys and times as clients are.
func TestRulesOfBuiltBatches(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("cleanup.policy=compact")
	for _, c := range []struct {
		name  string
		batch recordbatch.Batch
		want  error
	}{
		{"no key", w.keyed(w.now, "=1"), kerr.InvalidRecord},
		{"too far ahead", w.keyed(w.now.Add(2*time.Hour), "a=1"), kerr.InvalidTimestamp},
		{"good", w.keyed(w.now, "a=1"), nil},
	} {
		if _, err := w.Append("t", 0, c.batch); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	w.deleteTopic("t")
	w.topicWith()
	if _, err := w.Append("t", 0, w.keyed(w.now.Add(2*time.Hour), "a=1")); !errors.Is(err, kerr.InvalidTimestamp) {
		t.Errorf("too far ahead, in a topic that is not compacted: %v", err)
	}
}

// TestClaimedAppendTimeInATransaction: records that are written anew because their batch
// claims LogAppendTime are still those of its producer and its transaction.
func TestClaimedAppendTimeInATransaction(t *testing.T) {
	w := newWorkbench(t)
	w.topicWith("compression.type=zstd")
	id := "a"
	pid, epoch := w.initID(id)
	send := func() kmsg.ProduceResponseTopicPartition {
		batch := w.keyed(w.now, "a=1", "b=2")
		batch.SetProducer(pid, epoch, 0, true)
		batch.SetLogAppendTime(w.now.UnixMilli() + 5)
		batch.SetCRC()
		answer := w.produce(13, &id, 0, batch)
		w.want(answer.ErrorCode, nil)
		return answer
	}
	if first, again := send(), send(); first.BaseOffset != 0 || again.BaseOffset != 0 {
		t.Errorf("offsets %d and, sent again, %d", first.BaseOffset, again.BaseOffset)
	}
	w.want(w.produce(13, &id, 0, oneRecord(pid, epoch, 2, true, "the next")).ErrorCode, nil)
	if res, err := w.Fetch("t", 0, 0, true, 1<<20, nil); err != nil || len(res.Batches) > 0 {
		t.Errorf("%d bytes of an open transaction, %v", len(res.Batches), err)
	}
	w.want(w.endTxn(5, id, pid, epoch, false).ErrorCode, nil)
	w.want(w.produce(13, nil, 0, w.keyed(w.now, "c=3")).ErrorCode, nil) // which syncs the log
	res, err := w.Fetch("t", 0, 0, true, 1<<20, nil)
	if err != nil || len(res.Aborted) != 1 || res.Aborted[0].ProducerID != pid {
		t.Errorf("aborted transactions: %+v, %v", res.Aborted, err)
	}
}

// TestBatchesThatClientsMayNotSend: what is wrong in the batch itself is INVALID_RECORD,
// or clients would send it again; CORRUPT_MESSAGE is what changed on its way.
func TestBatchesThatClientsMayNotSend(t *testing.T) {
	w := newWorkbench(t)
	w.topic("t", 1)
	good := oneRecord(-1, -1, -1, false, "v")
	with := func(change func(recordbatch.Batch)) recordbatch.Batch {
		b := bytes.Clone(good)
		change(b)
		recordbatch.Batch(b).SetCRC()
		return b
	}
	put := func(at int, v uint32) func(recordbatch.Batch) {
		return func(b recordbatch.Batch) { binary.BigEndian.PutUint32(b[at:], v) }
	}
	changed := bytes.Clone(good)
	changed[len(changed)-1] ^= 1
	for name, test := range map[string]struct {
		batch   recordbatch.Batch
		version int16
		want    *kerr.Error
	}{
		"good":                 {good, 13, nil},
		"nothing":              {recordbatch.Batch{}, 13, kerr.InvalidRecord},
		"null":                 {nil, 13, kerr.InvalidRecord},
		"half a header":        {good[:40], 13, kerr.InvalidRecord},
		"cut":                  {good[:len(good)-1], 3, kerr.InvalidRecord},
		"two":                  {append(bytes.Clone(good), good...), 13, kerr.InvalidRecord},
		"bytes behind it":      {append(bytes.Clone(good), 0), 13, kerr.InvalidRecord},
		"a base offset":        {with(put(4, 7)), 13, kerr.InvalidRecord},
		"another last":         {with(put(23, 5)), 13, kerr.InvalidRecord},
		"a last before 0":      {with(put(23, 1<<31)), 13, kerr.InvalidRecord},
		"count below 0":        {with(put(57, 1<<31)), 13, kerr.InvalidRecord},
		"control":              {with(func(b recordbatch.Batch) { b[22] |= 1 << 5 }), 13, kerr.InvalidRecord},
		"zstd before its time": {with(func(b recordbatch.Batch) { b[22] |= 4 }), 6, kerr.UnsupportedCompressionType},
		"zstd that is none":    {with(func(b recordbatch.Batch) { b[22] |= 4 }), 7, kerr.UnknownServerError},
		"changed":              {changed, 13, kerr.CorruptMessage},
		"a negative length":    {with(put(8, 1<<31)), 13, kerr.CorruptMessage},
	} {
		t.Run(name, func(t *testing.T) {
			want := int16(0)
			if test.want != nil {
				want = test.want.Code
			}
			if got := w.produce(test.version, nil, 0, test.batch).ErrorCode; got != want {
				t.Errorf("%v, want %v", kerr.ErrorForCode(got), kerr.ErrorForCode(want))
			}
		})
	}
	if end := w.topics.byName("t").parts()[0].log.End(); end != 1 {
		t.Errorf("%d offsets were used, want 1", end)
	}
}
