package storetest

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/levada/levada/statestore"
)

// layers puts keys into each layer of a store: on disk, committed, uncommitted.
func layers(o *opened[[]byte]) {
	o.put("a", []byte("disk"))
	o.put("b", []byte("disk"))
	o.put("c", []byte("disk"))
	o.commit()
	o.flush()
	o.put("b", []byte("committed"))
	o.put("d", []byte("committed"))
	o.put("f", []byte("committed"))
	o.commit()
	o.put("e", []byte("uncommitted"))
	o.put("a", []byte("uncommitted"))
	o.remove("c")
	o.remove("f")
}

// testRanges scans over all layers in order, from any key to any.
func testRanges(t *testing.T, env Env) {
	o := open(t, env, Bytes{})
	layers(o)
	all := []string{"a", "b", "d", "e"}
	for _, from := range []string{"", "a", "b", "bb", "c", "e", "z"} {
		for _, to := range []string{"", "a", "c", "d", "dd", "z"} {
			var want []string
			for _, k := range all {
				if k >= from && (to == "" || k < to) {
					want = append(want, k)
				}
			}
			if got := o.keys(from, to); !slices.Equal(got, want) {
				t.Errorf("from %q to %q: %q, want %q", from, to, got, want)
			}
		}
	}
	stopped := 0
	err := o.Scan(nil, nil, func([]byte, *statestore.Entry[[]byte]) (bool, error) { stopped++; return stopped < 2, nil })
	if err != nil || stopped != 2 {
		t.Errorf("a scan that is to stop after 2 went on to %d, %v", stopped, err)
	}
	broken := errors.New("broken")
	if err := o.Scan(nil, nil, func([]byte, *statestore.Entry[[]byte]) (bool, error) { return true, broken }); !errors.Is(err, broken) {
		t.Errorf("the error of the caller came back as %v", err)
	}
	o.Abort()
	if got, want := o.keys("", ""), []string{"a", "b", "c", "d", "f"}; !slices.Equal(got, want) {
		t.Errorf("after an abort: %q, want %q", got, want)
	}
	o.close()
}

// testOutside: who asks from outside sees what is committed, and nothing else.
func testOutside(t *testing.T, env Env) {
	o := open(t, env, Bytes{})
	layers(o)
	var got []string
	err := o.part.Scan(nil, nil, func(key, stored []byte) (bool, error) {
		got = append(got, string(key)+"="+string(stored[8:])) // after the timestamp
		return true, nil
	})
	want := []string{"a=disk", "b=committed", "c=disk", "d=committed", "f=committed"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if _, ok, err := o.part.Get([]byte("e")); ok || err != nil {
		t.Errorf("a key that is not committed is there: %v, %v", ok, err)
	}
	if stored, ok, err := o.part.Get([]byte("c")); !ok || err != nil || string(stored[8:]) != "disk" {
		t.Errorf("a deletion that is not committed is seen: %q, %v, %v", stored, ok, err)
	}
	o.close()
}

// testEdges: keys and values at the edges of what there is, in every layer.
func testEdges(t *testing.T, env Env) {
	long := strings.Repeat("k", 4000)
	keys := []string{"", "\x00", "\x00\x00", "\xff", "\xff\xff", "a", "ab", "abc", "a\x00", long, long + "\x00", "größer"}
	values := map[string][]byte{"": {}, "a": {}, "ab": bytes.Repeat([]byte{7}, 100_000), long: []byte("v")}
	o := open(t, env, Bytes{})
	check := func(layer string) {
		t.Helper()
		for _, k := range keys {
			e, err := o.Lookup([]byte(k))
			if err != nil {
				t.Fatal(err)
			}
			if !e.Present || !bytes.Equal(e.Value, values[k]) || e.Timestamp != 1000 {
				t.Errorf("%s: key %.10q has %d bytes at %d, present %v; want %d bytes", layer, k, len(e.Value), e.Timestamp, e.Present, len(values[k]))
			}
		}
		want := slices.Sorted(slices.Values(keys))
		if got := o.keys("", ""); !slices.Equal(got, want) {
			t.Errorf("%s: the scan gives %d keys, want %d in order", layer, len(got), len(want))
		}
		if e, err := o.Lookup([]byte("not there")); err != nil || e.Present {
			t.Errorf("%s: a key that was never set: %v, %v", layer, e, err)
		}
	}
	for _, k := range keys {
		o.put(k, values[k])
	}
	check("uncommitted")
	o.commit()
	check("committed")
	o.flush()
	check("flushed")
	for _, k := range keys {
		o.remove(k)
	}
	o.commit()
	o.flush()
	if got := o.keys("", ""); len(got) > 0 {
		t.Errorf("%d keys are left after all were deleted", len(got))
	}
	o.close()
}

// testMutable: a value handed to user code may be changed in place, an abort
// brings back what was committed.
func testMutable(t *testing.T, env Env) {
	o := open(t, env, Bytes{})
	o.put("k", []byte("one"))
	o.commit()
	e, err := o.Update([]byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	copy(e.Value, "two")
	if e, _ := o.Lookup([]byte("k")); string(e.Value) != "two" {
		t.Errorf("changed in place: %q", e.Value)
	}
	o.Abort()
	if e, err := o.Lookup([]byte("k")); err != nil || string(e.Value) != "one" {
		t.Errorf("after an abort: %q, %v, want one", e.Value, err)
	}
	if n := o.UncommittedBytes(); n != 0 {
		t.Errorf("%d uncommitted bytes after an abort", n)
	}
	o.close()
}

// testChanges: a commit yields each changed key once, in the order of first
// change, with its newest value; a deletion has none.
func testChanges(t *testing.T, env Env) {
	o := open(t, env, Bytes{})
	o.put("gone", []byte("x"))
	o.commit()
	o.put("b", []byte("1"))
	o.put("a", []byte("1"))
	o.remove("gone")
	o.put("b", []byte("2"))
	o.put("empty", []byte{})
	var got []string
	for _, c := range o.commit() {
		text := "deleted"
		if c.Value != nil {
			text = string(c.Value)
		}
		got = append(got, string(c.Key)+"="+text)
	}
	if want := []string{"b=2", "a=1", "gone=deleted", "empty="}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if again := o.commit(); len(again) > 0 {
		t.Errorf("a second commit yields %v", again)
	}
	o.close()
}

// testReset: nothing is left, in any layer, and other partitions are untouched.
func testReset(t *testing.T, env Env) {
	o := open(t, env, Bytes{})
	other, err := o.engine.Open(statestore.ID{App: "app", Store: "store", Partition: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Restore([]statestore.Change{{Key: []byte("k"), Value: []byte("v"), Timestamp: 1}}, statestore.Cut{Offset: 1}); err != nil {
		t.Fatal(err)
	}
	layers(o)
	o.Abort()
	if err := o.part.Reset(); err != nil {
		t.Fatal(err)
	}
	fresh := statestore.NewKeyValue("store", o.part, Bytes{})
	err = fresh.Scan(nil, nil, func(key []byte, _ *statestore.Entry[[]byte]) (bool, error) {
		t.Errorf("%q is left", key)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if cut, ok := o.part.Cut(); ok {
		t.Errorf("a cut is left: %+v", cut)
	}
	if _, ok, err := other.Get([]byte("k")); !ok || err != nil {
		t.Errorf("the other partition lost its key: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	o.close()
}

// testInUse: a partition has one owner at a time.
func testInUse(t *testing.T, env Env) {
	o := open(t, env, Bytes{})
	if _, err := o.engine.Open(storeID); !errors.Is(err, statestore.ErrInUse) {
		t.Errorf("a second owner: %v, want ErrInUse", err)
	}
	o.put("k", []byte("v"))
	o.commit()
	if err := o.part.Close(); err != nil {
		t.Fatal(err)
	}
	part, err := o.engine.Open(storeID)
	if err != nil {
		t.Fatal(err)
	}
	if stored, ok, err := part.Get([]byte("k")); !ok || err != nil || string(stored[8:]) != "v" {
		t.Errorf("the next owner finds %q, %v, %v", stored, ok, err)
	}
	o.part = part
	o.close()
}
