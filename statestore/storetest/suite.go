package storetest

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/levada/levada/statestore"
)

// Env is an engine under test and its surroundings.
type Env struct {
	// Open opens an engine on what the last one left behind.
	Open func(t *testing.T) *statestore.Engine
	// LosePower makes Open continue from what was synced, and a random part of
	// what was not. Nil: the engine keeps nothing beyond its Close.
	LosePower func(rng *rand.Rand)
	// Pass moves the clock of the engine.
	Pass func(d time.Duration)
}

// Run runs the suite; factory makes the Env of a subtest.
func Run(t *testing.T, factory func(t *testing.T) Env) {
	for name, test := range map[string]func(*testing.T, Env){
		"Model": testModel, "Edges": testEdges, "Ranges": testRanges, "Outside": testOutside, "MutableValues": testMutable,
		"Changes": testChanges, "Reset": testReset, "InUse": testInUse,
	} {
		t.Run(name, func(t *testing.T) { test(t, factory(t)) })
	}
}

// Int64 is the codec of the suite's values: eight bytes, big endian.
type Int64 struct{}

// Append implements statestore.Codec.
func (Int64) Append(dst []byte, v int64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, uint64(v)), nil
}

// Decode implements statestore.Codec.
func (Int64) Decode(b []byte) (int64, error) {
	if len(b) != 8 {
		return 0, errors.New("storetest: a number has eight bytes")
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// Bytes is the codec of values that are bytes.
type Bytes struct{}

// Append implements statestore.Codec.
func (Bytes) Append(dst []byte, v []byte) ([]byte, error) { return append(dst, v...), nil }

// Decode implements statestore.Codec.
func (Bytes) Decode(b []byte) ([]byte, error) { return append([]byte{}, b...), nil }

// storeID is the partition that the tests use.
var storeID = statestore.ID{App: "app", Store: "store", Partition: 3}

// opened is an open store of one type.
type opened[V any] struct {
	*statestore.KeyValue[V]
	t      *testing.T
	engine *statestore.Engine
	part   *statestore.Partition
	cut    statestore.Cut
}

func open[V any](t *testing.T, env Env, codec statestore.Codec[V]) *opened[V] {
	t.Helper()
	o := &opened[V]{t: t, engine: env.Open(t), cut: statestore.Cut{LeaderEpoch: 1}}
	var err error
	if o.part, err = o.engine.Open(storeID); err != nil {
		t.Fatal(err)
	}
	o.KeyValue = statestore.NewKeyValue("store", o.part, codec)
	return o
}

// close closes everything; what is committed must survive it, where the engine
// keeps anything.
func (o *opened[V]) close() {
	o.t.Helper()
	if err := errors.Join(o.part.Close(), o.engine.Close()); err != nil {
		o.t.Fatal(err)
	}
}

// put sets a value, uncommitted.
func (o *opened[V]) put(key string, v V) {
	o.t.Helper()
	e, err := o.Update([]byte(key))
	if err != nil {
		o.t.Fatal(err)
	}
	e.Value, e.Timestamp, e.Present = v, 1000, true
}

func (o *opened[V]) remove(key string) {
	o.t.Helper()
	e, err := o.Update([]byte(key))
	if err != nil {
		o.t.Fatal(err)
	}
	*e = statestore.Entry[V]{}
}

// commit makes everything so far committed and returns what went to the
// changelog.
func (o *opened[V]) commit() (changes []statestore.Change) {
	o.t.Helper()
	err := o.Prepare(func(c statestore.Change) error {
		c.Key = append([]byte{}, c.Key...)
		if c.Value != nil {
			c.Value = append([]byte{}, c.Value...)
		}
		changes = append(changes, c)
		return nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.cut.Offset += int64(len(changes)) + 1
	o.Committed(o.cut)
	return changes
}

func (o *opened[V]) flush() {
	o.t.Helper()
	if err := o.engine.Flush(); err != nil {
		o.t.Fatal(err)
	}
}

// keys are those that a scan of a range finds; to "" is the end.
func (o *opened[V]) keys(from, to string) (all []string) {
	o.t.Helper()
	var end []byte
	if to != "" {
		end = []byte(to)
	}
	err := o.Scan([]byte(from), end, func(key []byte, e *statestore.Entry[V]) (bool, error) {
		if !e.Present {
			o.t.Errorf("the scan found %q, which has no value", key)
		}
		all = append(all, string(key))
		return true, nil
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return all
}
