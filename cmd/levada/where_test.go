package main

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestWhere(t *testing.T) {
	record := &kgo.Record{
		Key: []byte("42"), Value: []byte(`{"user":{"id":7},"tags":["a","b"],"amount":12.5}`), Topic: "orders", Partition: 3, Offset: 9,
		Timestamp: time.UnixMilli(1_700_000_000_000), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x1")}},
	}
	for text, want := range map[string]bool{
		`value.user.id == 7`:                true,
		`value.amount > 12 && key == 42`:    true,
		`"b" in value.tags`:                 true,
		`headers["trace"] == "x1"`:          true,
		`headers["none"] == "x1"`:           false,
		`topic == "orders" && offset < 9`:   false,
		`partition in [1, 3]`:               true,
		`timestamp >= 1700000000000`:        true,
		`text contains "amount"`:            true,
		`value?.missing?.deeper == nil`:     true,
		`value.user.id.deeper.still == "x"`: false,
	} {
		w, err := newWhere(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := w.takes(record); got != want {
			t.Errorf("%s: %t (%s)", text, got, w.report())
		}
	}
	w, err := newWhere(`value.user.id.deeper.still == "x"`)
	if err != nil {
		t.Fatal(err)
	}
	if w.takes(record); w.skipped != 1 || w.report() == "" {
		t.Errorf("no result is not said: %+v", w)
	}
	for _, bad := range []string{`value.`, `nothing == 1`, `offset + 1`} {
		if _, err := newWhere(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
