package main

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestWhere(t *testing.T) {
	record := &kgo.Record{
		Key: []byte("42"), Value: []byte(`{"user":{"id":7},"tags":["a","b"],"amount":12.5,"order":9007199254740993}`), Topic: "orders", Partition: 3, Offset: 9,
		Timestamp: time.UnixMilli(1_700_000_000_000), Headers: []kgo.RecordHeader{{Key: "trace", Value: []byte("x1")}},
	}
	for text, want := range map[string]bool{
		`value.user.id == 7`:                true,
		`value.user.id == 7.0`:              true,
		`value.user.id in [6, 7]`:           true,
		`value.user.id % 2 == 1`:            true,
		`value.user.id / 2 == 3.5`:          true,
		`value.order == 9007199254740993`:   true,
		`value.order == 9007199254740992`:   false, // as a floating number it would be
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
		if got, err := w.takes(record); got != want || err != nil {
			t.Errorf("%s: %t, %v (%s)", text, got, err, w.report())
		}
	}
	w, err := newWhere(`value.user.id.deeper.still == "x"`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.takes(record); err != nil || w.skipped != 1 || w.report() == "" {
		t.Errorf("no result is not said: %+v, %v", w, err)
	}
	if w, err = newWhere(`value.amount contains "1"`); err != nil {
		t.Fatal(err)
	}
	if _, err := w.takes(record); err != nil || !strings.Contains(w.report(), "value.amount is a number, and text is needed (text is the value as text") || !strings.Contains(w.report(), "\n") {
		t.Errorf("a number where text is needed: %v\n%s", err, w.report())
	}
	for text, want := range map[string]string{`key`: "gives a number", `value.user`: "gives an object", `value.tags`: "gives a list"} {
		if w, err = newWhere(text); err != nil {
			t.Fatal(err)
		}
		if _, err := w.takes(record); err == nil || !strings.Contains(err.Error(), want) || exitCode(err) != exitInput {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, bad := range []string{`value.`, `nothing == 1`, `offset + 1`} {
		if _, err := newWhere(bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// TestWhereSaysWhatIsOfWhichKind: a value of another kind than the expression needs is said
// with its place in the record, its kind, and what is needed.
func TestWhereSaysWhatIsOfWhichKind(t *testing.T) {
	record := &kgo.Record{Key: []byte("abc"), Value: []byte(`{"user":{"id":7},"tags":["a","b"],"amount":12.5,"name":"x","none":null}`), Partition: 3, Offset: 9}
	for text, want := range map[string]string{
		`value.name > 100`:           `value.name is text and 100 is a number, and > takes two numbers, or text twice`,
		`offset > value.user`:        `offset is a number and value.user is an object, and > takes two numbers, or text twice`,
		`value.missing > 1`:          `value.missing is null and 1 is a number, and > takes two numbers, or text twice`,
		`value.name % 2 == 1`:        `value.name is text and 2 is a number, and % takes two numbers`,
		`sum(value.tags) > 1`:        `text and a number meet, and + takes two numbers, or text twice`,
		`value.name ** 2 == 4`:       `** takes two numbers, and one of both is text`,
		`-value.name == 1`:           `value.name is text, and a number is needed`,
		`!value.name`:                `value.name is text, and true or false is needed`,
		`upper(value.amount) == "X"`: `value.amount is a number, and text is needed (text is`,
		`value.amount matches "1"`:   `value.amount is a number, and text is needed (text is`,
		`"a" in value.amount`:        `value.amount is a number, and a list or an object is needed`,
		`all(value.amount, # > 1)`:   `value.amount is a number, and a list is needed`,
		`value.amount[1:2] == "a"`:   `value.amount is neither text nor a list`,
		`value.user.id.deep == 1`:    `value.user.id is a number, and deep of it is asked for, which only an object has`,
		`value.none.deep == 1`:       `value.none is null, and deep of it is asked for, which only an object has`,
		`key.x == 1`:                 `key is text or a list, and "x" of it is asked for, which only an object has`,
		`len(value.amount) > 1`:      `value.amount is a number, which has no length`,
		`int(value.name) > 1`:        `value.name is text that is no number: "x"`,
		`int(value.user) > 1`:        `value.user is an object, of which int makes nothing: a number is needed`,
		`abs(value.name) == 1`:       `value.name is text, of which abs makes nothing: a number is needed`,
	} {
		w, err := newWhere(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if _, err := w.takes(record); err != nil || !strings.Contains(w.report(), "the first: partition 3, offset 9: "+want) {
			t.Errorf("%s: %v, %s; want %s", text, err, w.report(), want)
		}
	}
}
