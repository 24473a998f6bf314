package sdk

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

type settings struct {
	Path   string            `config:"path" doc:"a file" required:"true"`
	Mode   string            `config:"mode" default:"fast" choices:"fast,slow"`
	Wait   time.Duration     `config:"wait" default:"100ms"`
	Size   Size              `config:"size" default:"64KiB"`
	Limit  int               `config:"limit"`
	Ratio  float64           `config:"ratio"`
	On     bool              `config:"on"`
	List   []string          `config:"list"`
	Map    map[string]string `config:"map"`
	hidden int
}

func (s *settings) Validate() []Fault {
	if s.Limit > 100 {
		return []Fault{{Field: "limit", Message: "is too large", Mend: "write at most 100"}}
	}
	return nil
}

func TestDecodeConfig(t *testing.T) {
	base := settings{Path: "p", Mode: "fast", Wait: 100 * time.Millisecond, Size: 64 << 10}
	for text, change := range map[string]func(*settings){
		`{"path": "p"}`: func(*settings) {},
		`{"path": "p", "mode": "slow", "wait": "2s"}`:     func(s *settings) { s.Mode, s.Wait = "slow", 2*time.Second },
		`{"path": "p", "limit": 7, "on": true}`:           func(s *settings) { s.Limit, s.On = 7, true },
		`{"path": "p", "limit": "7", "on": "true"}`:       func(s *settings) { s.Limit, s.On = 7, true },
		`{"path": "p", "size": "2MiB", "ratio": 0.5}`:     func(s *settings) { s.Size, s.Ratio = 2<<20, 0.5 },
		`{"path": "p", "size": 10, "mode": null}`:         func(s *settings) { s.Size = 10 },
		`{"path": "p", "list": ["a"], "map": {"k": "v"}}`: func(s *settings) { s.List, s.Map = []string{"a"}, map[string]string{"k": "v"} },
	} {
		want := base
		change(&want)
		var got settings
		if faults := DecodeConfig([]byte(text), &got); len(faults) > 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, faults %v, want %+v", text, got, faults, want)
		}
	}
}

// Every fault is told at once, with the setting and the mend.
func TestDecodeConfigFaults(t *testing.T) {
	for text, want := range map[string][]string{
		``:              {"path: is not set; it is required: a file"},
		`[]`:            {"no JSON object"},
		`{`:             {"no JSON object"},
		`{"pth": "p"}`:  {"path: is not set", "pth: is no setting; known are path"},
		`{"path": [1]}`: {"path: "},
		`{"path": "p", "mode": "f", "wait": "soon", "size": "big", "limit": 1.5, "on": 3, "list": {}, "map": []}`: {"mode: ", "fast", "wait: ", "size: ", "limit: ", "on: ", "list: ", "map: "},
		`{"path": "p", "limit": 101}`:  {"limit: is too large; write at most 100"},
		`{"path": "p", "wait": "-1s"}`: {"wait: "},
	} {
		var lines []string
		var s settings
		for _, f := range DecodeConfig([]byte(text), &s) {
			lines = append(lines, f.String())
		}
		all := strings.Join(lines, "\n")
		for _, w := range want {
			if !strings.Contains(all, w) {
				t.Errorf("%s: no %q in\n%s", text, w, all)
			}
		}
	}
}

func TestFieldsOf(t *testing.T) {
	fields := FieldsOf(settings{hidden: 1})
	var kinds []string
	for _, f := range fields {
		kinds = append(kinds, f.Name+" "+f.Type)
	}
	want := []string{"path string", "mode string", "wait duration", "size size", "limit integer", "ratio number", "on boolean", "list list", "map map"}
	if !reflect.DeepEqual(kinds, want) || !fields[0].Required || !reflect.DeepEqual(fields[1].Choices, []string{"fast", "slow"}) {
		t.Errorf("%v, want %v: %+v", kinds, want, fields)
	}
	defer func() {
		if recover() == nil {
			t.Error("a setting of a type that none can have was taken")
		}
	}()
	FieldsOf(struct {
		Bad chan int `config:"bad"`
	}{})
}

func FuzzDecodeConfig(f *testing.F) {
	for _, text := range []string{`{"path": "p", "size": "10MiB"}`, `{"wait": "1h", "limit": 9e99}`, `{"map": {"a": 1}}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s settings
		if faults := DecodeConfig(text, &s); len(faults) == 0 && s.Path == "" && !strings.Contains(string(text), "path") {
			t.Errorf("%q has no path and no fault", text)
		}
	})
}
