package workload

import (
	"encoding/binary"
	"testing"
)

func output(t *testing.T, e Expectation, key string, n int64) error {
	t.Helper()
	return e.Output(0, []byte(key), binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func TestCountsFindWrongResults(t *testing.T) {
	in := Input{Workload: Count, Records: 100, Keys: 3, Seed: 1}
	right := map[string]int64{}
	in.Walk(func(r Record) bool { right[string(r.Key)]++; return true })
	for name, spoil := range map[string]func(map[string]int64){
		"right":    func(map[string]int64) {},
		"one more": func(m map[string]int64) { m[string(AppendKey(nil, 0))]++ },
		"one less": func(m map[string]int64) { m[string(AppendKey(nil, 1))]-- },
		"lost key": func(m map[string]int64) { delete(m, string(AppendKey(nil, 2))) },
		"new key":  func(m map[string]int64) { m["?"] = 1 },
	} {
		counted := map[string]int64{}
		for k, v := range right {
			counted[k] = v
		}
		spoil(counted)
		e := Expect(in, false, 1, one)
		for k, n := range counted {
			if err := output(t, e, k, n); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Finish(); (err == nil) != (name == "right") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func one([]byte) int32 { return 0 }

func TestCountsMustGrow(t *testing.T) {
	for _, every := range []bool{false, true} {
		mustGrow(t, every)
	}
}

func mustGrow(t *testing.T, every bool) {
	t.Helper()
	e := Expect(Input{Workload: Count, Records: 10, Keys: 1, Seed: 1}, every, 1, one)
	key := string(AppendKey(nil, 0))
	for _, c := range []struct {
		partition int32
		n         int64
		ok        bool
	}{{0, 1, true}, {0, 1, false}, {0, 3, !every}, {1, 4, false}} {
		err := e.Output(c.partition, []byte(key), binary.BigEndian.AppendUint64(nil, uint64(c.n)))
		if (err == nil) != c.ok {
			t.Errorf("every update %v: count %d in partition %d: %v", every, c.n, c.partition, err)
		}
	}
}

func TestPassThroughFindsWrongResults(t *testing.T) {
	in := Input{Workload: PassThrough, Records: 50, Keys: 5, Seed: 1}
	for name, drop := range map[string]int64{"right": -1, "a record lost": 20} {
		e := Expect(in, true, 1, one)
		i := int64(0)
		in.Walk(func(r Record) bool {
			if i != drop {
				if err := e.Output(0, r.Key, r.Value); err != nil {
					t.Fatal(err)
				}
			}
			i++
			return true
		})
		if err := e.Finish(); (err == nil) != (name == "right") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
