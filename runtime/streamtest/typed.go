package streamtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/levada/levada/internal/recordbatch"
	"github.com/levada/levada/statestore"
)

// Topic is a typed topic; dsl.Topic is one.
type Topic[K, V any] interface {
	Name() string
	AppendKey(dst []byte, k K) ([]byte, error)
	AppendValue(dst []byte, v V) ([]byte, error)
	DecodeKey(b []byte) (K, error)
	DecodeValue(b []byte) (V, error)
	TextTopic
}

// TextTopic is a topic whose records have a written form; dsl.Topic is one.
type TextTopic interface {
	Name() string
	FormatRecord(key, value []byte) (k, v string, err error)
	ParseKey(text string) ([]byte, error)
	ParseValue(text string) ([]byte, error)
}

// In is a topic that a test writes.
type In[K, V any] struct {
	d     *Driver
	topic Topic[K, V]
}

// Input returns the writing end of a topic that the topology reads.
func Input[K, V any](d *Driver, topic Topic[K, V]) In[K, V] { return In[K, V]{d, topic} }

// Send writes a record with the timestamp of the newest one before it. For
// types that can be nil, nil is null.
func (in In[K, V]) Send(key K, value V) { in.d.helper()(); in.SendAt(in.d.now, key, value) }

// SendAt writes a record with a timestamp, in ms.
func (in In[K, V]) SendAt(timestampMs int64, key K, value V) {
	in.d.helper()()
	k, err := encode(key, in.topic.AppendKey)
	in.d.must(err)
	v, err := encode(value, in.topic.AppendValue)
	in.d.must(err)
	in.d.must(in.d.Produce(in.topic.Name(), Message{Key: k, Value: v, Timestamp: timestampMs}))
}

// DeleteAt writes a null value for a key, with a timestamp, in ms.
func (in In[K, V]) DeleteAt(timestampMs int64, key K) {
	in.d.helper()()
	k, err := encode(key, in.topic.AppendKey)
	in.d.must(err)
	in.d.must(in.d.Produce(in.topic.Name(), Message{Key: k, Timestamp: timestampMs}))
}

func encode[T any](v T, appendTo func([]byte, T) ([]byte, error)) ([]byte, error) {
	if isNil(v) {
		return nil, nil
	}
	return appendTo([]byte{}, v)
}

// Record is a record that a topology wrote.
type Record[K, V any] struct {
	Key       K
	Value     V
	Timestamp int64
	// NullKey and NullValue tell what the zero value stands for.
	NullKey, NullValue bool
	Headers            []recordbatch.Header
}

// Out is a topic that a test reads.
type Out[K, V any] struct {
	d     *Driver
	topic Topic[K, V]
}

// Output returns the reading end of a topic that the topology writes.
func Output[K, V any](d *Driver, topic Topic[K, V]) Out[K, V] {
	d.helper()()
	if !d.topics[topic.Name()] {
		d.must(fmt.Errorf("streamtest: the topology does not write topic %q", topic.Name()))
	}
	return Out[K, V]{d, topic}
}

// Take returns the records written since the last Take or Want.
func (o Out[K, V]) Take() []Record[K, V] {
	o.d.helper()()
	var out []Record[K, V]
	for _, m := range o.d.Take(o.topic.Name()) {
		r := Record[K, V]{Timestamp: m.Timestamp, NullKey: m.Key == nil, NullValue: m.Value == nil}
		var err error
		if m.Key != nil {
			r.Key, err = o.topic.DecodeKey(m.Key)
			o.d.must(err)
		}
		if m.Value != nil {
			r.Value, err = o.topic.DecodeValue(m.Value)
			o.d.must(err)
		}
		r.Headers, err = m.Headers.Decode()
		o.d.must(err)
		out = append(out, r)
	}
	return out
}

// Text is Take as text: `key=value key=value`, null as null, quoted where
// white space would mislead.
func (o Out[K, V]) Text() string {
	o.d.helper()()
	text, err := formatMessages(o.topic, o.d.Take(o.topic.Name()), false)
	o.d.must(err)
	return text
}

// Want compares Text with what the test expects.
func (o Out[K, V]) Want(want string) {
	o.d.helper()()
	if got := o.Text(); got != want {
		o.d.must(fmt.Errorf("topic %s:\n got  %s\n want %s", o.topic.Name(), got, want))
	}
}

// Store returns what a store holds, over all partitions, in the order of the
// keys' bytes, uncommitted changes included. The serdes are those of the step.
func Store[K, V any](d *Driver, name string, key statestore.Codec[K], value statestore.Codec[V]) []Record[K, V] {
	d.helper()()
	type entry struct {
		key []byte
		Record[K, V]
	}
	var entries []entry
	found := false
	for _, t := range d.tasks {
		for _, s := range t.built.Stores {
			if s.Name() != name {
				continue
			}
			kv, ok := s.(*statestore.KeyValue[V])
			if !ok {
				d.must(fmt.Errorf("streamtest: store %q is a %T, not a %T", name, s, kv))
			}
			found = true
			d.must(kv.Scan(nil, nil, func(k []byte, e *statestore.Entry[V]) (bool, error) {
				decoded, err := key.Decode(k)
				if err != nil {
					return false, err
				}
				// A copy by the serde: the live value may change later.
				b, err := value.Append(nil, e.Value)
				if err != nil {
					return false, err
				}
				v, err := value.Decode(b)
				entries = append(entries, entry{slices.Clone(k), Record[K, V]{Key: decoded, Value: v, Timestamp: e.Timestamp}})
				return true, err
			}))
		}
	}
	if !found {
		d.must(fmt.Errorf("streamtest: there is no store %q", name))
	}
	slices.SortFunc(entries, func(a, b entry) int { return slices.Compare(a.key, b.key) })
	out := make([]Record[K, V], len(entries))
	for i, e := range entries {
		out[i] = e.Record
	}
	return out
}

// StoreText is what a store holds as text, `key=value`, sorted.
func (d *Driver) StoreText(name string) (string, error) {
	var out []string
	found := false
	for _, t := range d.tasks {
		for i, spec := range t.sub.Stores {
			if spec.Name != name || spec.Text == nil {
				continue
			}
			found = true
			err := spec.Text(t.built.Stores[i], func(k, v string, _ int64) error {
				out = append(out, quote(k)+"="+quote(v))
				return nil
			})
			if err != nil {
				return "", err
			}
		}
	}
	if !found {
		return "", fmt.Errorf("streamtest: there is no store %q that has a written form", name)
	}
	slices.Sort(out)
	return strings.Join(out, " "), nil
}

func formatMessages(t TextTopic, ms []Message, times bool) (string, error) {
	out := make([]string, len(ms))
	for i, m := range ms {
		k, v, err := t.FormatRecord(m.Key, m.Value)
		if err != nil {
			return "", err
		}
		if m.Key != nil {
			k = quote(k)
		}
		if m.Value != nil {
			v = quote(v)
		}
		out[i] = k + "=" + v
		if times {
			out[i] += "@" + strconv.FormatInt(m.Timestamp, 10)
		}
	}
	return strings.Join(out, " "), nil
}

// quote makes text one word that cannot be taken for something else.
func quote(s string) string {
	if s == "" || s == "null" || strings.ContainsAny(s, " \t\n=@\"") && !strings.HasPrefix(s, "{") {
		return strconv.Quote(s)
	}
	return s
}
