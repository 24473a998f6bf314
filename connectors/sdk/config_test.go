package sdk

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

type allKinds struct {
	Text  string            `config:"text" required:"true" doc:"some text"`
	Mode  string            `config:"mode" default:"fast" choices:"fast,slow" doc:"how"`
	On    bool              `config:"on" default:"true"`
	Count int               `config:"count" default:"3"`
	Long  int64             `config:"long"`
	Ratio float64           `config:"ratio"`
	Wait  time.Duration     `config:"wait" default:"2s"`
	Limit Size              `config:"limit" default:"64KiB"`
	List  []string          `config:"list"`
	Map   map[string]string `config:"map"`
}

func (c allKinds) Validate() []Fault {
	if c.Count > 100 {
		return []Fault{{Field: "count", Message: "is out of range", Mend: "write at most 100"}}
	}
	return nil
}

func TestDecodeConfig(t *testing.T) {
	defaults := allKinds{Text: "x", Mode: "fast", On: true, Count: 3, Wait: 2 * time.Second, Limit: 64 << 10}
	with := func(change func(*allKinds)) allKinds { c := defaults; change(&c); return c }
	tests := []struct {
		json string
		want allKinds
	}{
		{`{"text": "x"}`, defaults},
		{`{"text": "x", "count": null, "list": null}`, defaults},
		{`{"text": 12}`, with(func(c *allKinds) { c.Text = "12" })},
		{`{"text": "x", "on": "false", "count": "7", "ratio": "0.5"}`, with(func(c *allKinds) { c.On, c.Count, c.Ratio = false, 7, 0.5 })},
		{`{"text": "x", "mode": "slow", "long": -9, "wait": "90ms"}`, with(func(c *allKinds) { c.Mode, c.Long, c.Wait = "slow", -9, 90*time.Millisecond })},
		{`{"text": "x", "limit": 100, "list": "a, b,"}`, with(func(c *allKinds) { c.Limit, c.List = 100, []string{"a", "b"} })},
		{`{"text": "x", "limit": "2 MB", "list": ["a"], "map": {"k": "v"}}`, with(func(c *allKinds) { c.Limit, c.List, c.Map = 2e6, []string{"a"}, map[string]string{"k": "v"} })},
	}
	for _, tt := range tests {
		var got allKinds
		if faults := DecodeConfig([]byte(tt.json), &got); len(faults) > 0 || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v with %v, want %+v", tt.json, got, faults, tt.want)
		}
	}
}

// TestConfigFaults asserts that each fault names the field, what is wrong and
// what to write.
func TestConfigFaults(t *testing.T) {
	tests := []struct{ json, want string }{
		{`{}`, `text: is not set; it is required: some text`},
		{``, `text: is not set; it is required: some text`},
		{`{"text": ""}`, `text: is empty; it is required: some text`},
		{`{"text": ["a"]}`, `text: ["a"] is no string; write text`},
		{`[1]`, `the configuration is no JSON object: json: cannot unmarshal`},
		{`[1]`, `; write an object of settings, such as {"name": "value"}`},
		{`{"text": "x", "txt": 1, "also": 2}`, `also: is no setting; known are text, mode, on,|txt: is no setting; known are`},
		{`{"text": "x", "mode": "medium"}`, `mode: "medium" is not known; write one of fast, slow`},
		{`{"text": "x", "on": "maybe"}`, `on: "maybe" is no boolean; write true or false`},
		{`{"text": "x", "count": 1.5}`, `count: 1.5 is no integer; write a whole number`},
		{`{"text": "x", "long": 9223372036854775808}`, `long: 9223372036854775808 is no integer; write a whole number`},
		{`{"text": "x", "ratio": "NaN"}`, `ratio: "NaN" is no number; write a number`},
		{`{"text": "x", "wait": 5}`, `wait: 5 is no duration; write 250ms, 30s, 5m or 24h`},
		{`{"text": "x", "wait": "-1s"}`, `wait: "-1s" is no duration`},
		{`{"text": "x", "limit": "9999999999GiB"}`, `limit: "9999999999GiB" is no size; write a number of bytes, 64KiB or 10MiB`},
		{`{"text": "x", "limit": -1}`, `limit: -1 is no size`},
		{`{"text": "x", "list": [1]}`, `list: [1] is no list; write a list of texts, or one text`},
		{`{"text": "x", "map": {"a": 1}}`, `map: {"a": 1} is no map; write a map from text to text`},
		{`{"text": "x", "count": 101}`, `count: is out of range; write at most 100`},
		{`{"mode": "medium", "on": 7}`, `text: is not set|mode: "medium" is not known|on: 7 is no boolean`},
	}
	for _, tt := range tests {
		var lines []string
		for _, f := range DecodeConfig([]byte(tt.json), new(allKinds)) {
			lines = append(lines, f.String())
			if f.Message == "" || f.Mend == "" {
				t.Errorf("%s: the fault %+v does not say what is wrong and what to write", tt.json, f)
			}
		}
		want := strings.Split(tt.want, "|")
		if len(lines) != len(want) {
			t.Errorf("%s: got %q, want %q", tt.json, lines, want)
			continue
		}
		for i := range want {
			if !strings.Contains(lines[i], want[i]) {
				t.Errorf("%s: got %q, want %q", tt.json, lines[i], want[i])
			}
		}
	}
}

func TestRequiredList(t *testing.T) {
	type config struct {
		Names []string `config:"names" required:"true" doc:"the names"`
	}
	for _, text := range []string{`{"names": []}`, `{"names": ""}`, `{"names": " , "}`} {
		if got := fmt.Sprint(DecodeConfig([]byte(text), new(config))); got != "[names: is empty; it is required: the names]" {
			t.Errorf("%s: got %s", text, got)
		}
	}
}

// TestFieldsOf asserts what is told of a configuration, and that an author's
// mistakes in its tags are found at the start.
func TestFieldsOf(t *testing.T) {
	fields := FieldsOf(allKinds{})
	types := ""
	for _, f := range fields {
		types += f.Type + " "
	}
	if types != "string string boolean integer integer number duration size list map " {
		t.Errorf("the types are %s", types)
	}
	if got := fmt.Sprintf("%+v", fields[1]); got != "{Name:mode Type:string Doc:how Default:fast Required:false Choices:[fast slow]}" {
		t.Error(got)
	}
	for what, config := range map[string]any{
		"a type": struct {
			A []int `config:"a"`
		}{},
		"choices of a number": struct {
			A int `config:"a" choices:"1,2"`
		}{},
		"a default of another type": struct {
			A int `config:"a" default:"many"`
		}{},
		"a default that is no choice": struct {
			A string `config:"a" default:"c" choices:"a,b"`
		}{},
	} {
		t.Run(what, func(t *testing.T) {
			defer func() {
				if v := recover(); v == nil || !strings.Contains(fmt.Sprint(v), `setting "a"`) {
					t.Errorf("it panicked with %v, want the setting's name", v)
				}
			}()
			FieldsOf(config)
		})
	}
}

// FuzzDecodeConfig asserts that no bytes make it panic, and that a refusal
// always says something.
func FuzzDecodeConfig(f *testing.F) {
	for _, s := range []string{`{"text": "x", "limit": "3kB"}`, `{"list": [null], "map": {"": ""}}`, `nul`, `{"wait": "1h", "text": {}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var c allKinds
		for _, fault := range DecodeConfig(p, &c) {
			if fault.Message == "" {
				t.Fatalf("%q: a fault without a message: %+v", p, fault)
			}
		}
		if c.Limit < 0 || c.Wait < 0 || c.Ratio != c.Ratio {
			t.Fatalf("%q: got %+v", p, c)
		}
	})
}
