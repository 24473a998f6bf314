package proto_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	goproto "google.golang.org/protobuf/proto"

	"github.com/levada/levada/connectors/proto"
	"github.com/levada/levada/internal/recordbatch"
)

func batchOf(t testing.TB, values ...string) []byte {
	t.Helper()
	var b recordbatch.Builder
	for i, v := range values {
		b.Append(int64(i), []byte("k"), []byte(v), recordbatch.EncodeHeaders(nil, []recordbatch.Header{{Key: "h", Value: []byte("x")}}))
	}
	batch := b.Batch()
	batch.SetCRC()
	return batch
}

// TestGolden pins the bytes of the two messages that carry records: a plugin
// built with an older release must be read by a newer host, and the other way
// round.
func TestGolden(t *testing.T) {
	for _, tt := range []struct {
		name    string
		message goproto.Message
		want    string
	}{
		{
			"source batch",
			&proto.SourceEvent{Event: &proto.SourceEvent_Batch{Batch: &proto.SourceBatch{
				Records: []byte("RR"), Position: []byte("P"),
				Errors: []*proto.ErrorRecord{{Key: []byte("K"), Value: []byte("V"), Reason: "why", Origin: "at"}},
			}}},
			"1218 0a025252 120f 0a014b 120156 1a03776879 22026174 1a0150",
		},
		{
			"sink write",
			&proto.SinkCommand{Command: &proto.SinkCommand_Write{Write: &proto.WriteRecords{
				Topic: "t", Partition: 3, Records: []byte("RR"), NextOffset: 300,
			}}},
			"120c 0a0174 1003 1a025252 20ac02",
		},
		{
			"opened source",
			&proto.SourceCommand{Command: &proto.SourceCommand_Open{Open: &proto.OpenSource{
				Connector: "c", ConfigJson: []byte("{}"), HasPosition: true, Position: []byte("P"), Epoch: 2, CreditBytes: 3, MaxBatchBytes: 4,
			}}},
			"0a12 0a0163 12027b7d 1801 220150 2802 3003 3804",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := goproto.MarshalOptions{Deterministic: true}.Marshal(tt.message)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.ReplaceAll(tt.want, " ", ""); hex.EncodeToString(got) != want {
				t.Errorf("got  %x\nwant %s", got, want)
			}
		})
	}
}

// TestRoundTrip asserts that record batches cross the wire as they are, also
// the largest that fit into a message.
func TestRoundTrip(t *testing.T) {
	large := batchOf(t, strings.Repeat("x", proto.MaxMessageBytes-(1<<16)))
	for name, records := range map[string][]byte{
		"none": nil, "one": batchOf(t, "a"), "two batches": append(batchOf(t, "a", "b"), batchOf(t, "c")...), "large": large,
	} {
		t.Run(name, func(t *testing.T) {
			wire, err := goproto.Marshal(&proto.SourceEvent{Event: &proto.SourceEvent_Batch{Batch: &proto.SourceBatch{Records: records, Position: []byte("p")}}})
			if err != nil {
				t.Fatal(err)
			}
			if len(wire) > proto.MaxMessageBytes {
				t.Errorf("the message has %d bytes, more than %d", len(wire), proto.MaxMessageBytes)
			}
			var event proto.SourceEvent
			if err := goproto.Unmarshal(wire, &event); err != nil {
				t.Fatal(err)
			}
			if got := event.GetBatch(); !bytes.Equal(got.GetRecords(), records) || string(got.GetPosition()) != "p" {
				t.Errorf("%d bytes became %d", len(records), len(got.GetRecords()))
			}
			for rest := event.GetBatch().GetRecords(); len(rest) > 0; {
				batch, after, err := recordbatch.Split(rest)
				if err == nil {
					err = batch.Validate()
				}
				if err != nil {
					t.Fatal(err)
				}
				rest = after
			}
		})
	}
}

// FuzzSourceEvent reads any bytes as what a plugin sends, down to the records.
// It must not panic, and what was read is read the same again.
func FuzzSourceEvent(f *testing.F) {
	for _, e := range []*proto.SourceEvent{
		{Event: &proto.SourceEvent_Batch{Batch: &proto.SourceBatch{Records: batchOf(f, "a", "b"), Position: []byte("p")}}},
		{Event: &proto.SourceEvent_Batch{Batch: &proto.SourceBatch{Errors: []*proto.ErrorRecord{{Value: []byte("v"), Reason: "r"}}}}},
		{Event: &proto.SourceEvent_Error{Error: &proto.Error{Code: proto.Error_CODE_CONFIG, Faults: []*proto.Fault{{Field: "f"}}}}},
	} {
		wire, err := goproto.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var event, again proto.SourceEvent
		if goproto.Unmarshal(p, &event) != nil {
			return
		}
		wire, err := goproto.Marshal(&event)
		if err == nil {
			err = goproto.Unmarshal(wire, &again)
		}
		if err != nil || !goproto.Equal(&event, &again) {
			t.Fatalf("%v became %v, %v", &event, &again, err)
		}
		walk(t, event.GetBatch().GetRecords())
	})
}

// walk reads records and asserts that there are no more than bytes.
func walk(t *testing.T, records []byte) {
	n := 0
	for rest := records; len(rest) > 0; {
		batch, after, err := recordbatch.Split(rest)
		if err == nil {
			err = batch.Validate()
		}
		var reader recordbatch.Reader
		if err == nil && batch.Codec() == recordbatch.CodecNone {
			err = reader.Reset(batch)
		}
		var rec recordbatch.Record
		for ok := err == nil; ok && err == nil; n++ {
			ok, err = reader.Next(&rec)
		}
		if err != nil {
			if !errors.Is(err, recordbatch.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		rest = after
	}
	if n > len(records) {
		t.Fatalf("%d records in %d bytes", n, len(records))
	}
}
