package logbroker

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field of a request to something random.
func fill(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			tags := v.Addr().Interface().(*kmsg.Tags)
			for range rng.IntN(3) {
				tags.Set(uint32(100+rng.IntN(1000)), []byte("tag"))
			}
			return
		}
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Version" {
				fill(rng, v.Field(i))
			}
		}
	case reflect.Slice:
		n := rng.IntN(4)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(rng, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.Pointer:
		if rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem())
		}
	case reflect.String:
		v.SetString([]string{"", "a", "a name", "größer"}[rng.IntN(4)])
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(int8(rng.Uint32())))
	case reflect.Uint8:
		v.SetUint(uint64(rng.IntN(256)))
	case reflect.Float64:
		v.SetFloat(rng.Float64())
	}
}

// The shapes agree with the encoder, in every version served: a walk ends where
// the request does.
func TestShapesAgreeWithTheEncoder(t *testing.T) {
	w := newWorkbench(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for key, h := range w.handlers {
		if _, ok := requestShapes()[key]; !ok {
			t.Errorf("%s has no shape", kmsg.NameForKey(key))
			continue
		}
		for version := h.min; version <= h.max; version++ {
			for range 60 {
				req := kmsg.RequestForKey(key)
				fill(rng, reflect.ValueOf(req).Elem())
				req.SetVersion(version)
				if got := req.IsFlexible(); got != (version >= h.flexible) {
					t.Fatalf("%s version %d: flexible %v", kmsg.NameForKey(key), version, got)
				}
				body := req.AppendTo(nil)
				back := kmsg.RequestForKey(key)
				back.SetVersion(version)
				if err := back.ReadFrom(body); err != nil {
					t.Fatalf("%s version %d: the decoder itself refuses: %v", kmsg.NameForKey(key), version, err)
				}
				if err := checkShape(h, version, body); err != nil {
					t.Fatalf("%s version %d: %v\n%x", kmsg.NameForKey(key), version, err, body)
				}
				if len(body) > 0 {
					if err := checkShape(h, version, body[:len(body)-1]); err == nil {
						t.Fatalf("%s version %d: a body without its last byte is taken\n%x", kmsg.NameForKey(key), version, body)
					}
				}
			}
		}
	}
}

// Counts that no body can hold, or that would take a hundred times its size,
// cost neither memory nor time.
func TestCountsAreBounded(t *testing.T) {
	w := newWorkbench(t)
	large := make([]byte, 32<<20)
	copy(large, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0x01, 0xf0, 0, 0}) // 32 million topics of nothing
	for name, tc := range map[string]struct {
		key, version int16
		body         []byte
	}{
		"topics of a produce": {0, 3, large},
		"tags":                {22, 5, append([]byte{0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0xff, 0xff, 0xff, 0xff, 0x0f)},
		"topics of metadata":  {3, 12, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}},
		"tags inside a tag": {1, 16, append(append(make([]byte, 21), 1, 1, 1), // no topics, none forgotten, no rack
			1, 1, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x0f)},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := checkShape(w.handlers[tc.key], tc.version, tc.body)
			runtime.ReadMemStats(&after)
			if err == nil || !errors.Is(err, errElements) {
				t.Errorf("error %v, want %v", err, errElements)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
				t.Errorf("took %d bytes", took)
			}
		})
	}
}
