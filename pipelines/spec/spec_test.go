package spec

import (
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for _, c := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"250ms", 250 * time.Millisecond, true},
		{"1h30m", 90 * time.Minute, true},
		{"7d", 7 * 24 * time.Hour, true},
		{"1d12h", 36 * time.Hour, true},
		{"0s", 0, true},
		{"", 0, false},
		{"5", 0, false},
		{"5min", 0, false},
		{"-5s", 0, false},
		{"1.5s", 0, false},
		{"12h1d", 0, false},
		{"1d1d", 0, false},
		{"99999999999999h", 0, false},
		{"9999999999d", 0, false},
	} {
		got, ok := ParseDuration(c.text)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %v %v, want %v %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

// TestTable: every setting says what it is for, names are unique, and what is
// nested is complete.
func TestTable(t *testing.T) {
	root := Pipeline()
	checkSetting(t, "pipeline", &root, true)
	seen := map[string]bool{}
	for _, s := range AllSteps() {
		if seen[s.Name] {
			t.Errorf("two steps %q", s.Name)
		}
		seen[s.Name] = true
		checkSetting(t, s.Name, &s.Setting, true)
		for i := range s.With {
			checkSetting(t, s.Name+"."+s.With[i].Name, &s.With[i], true)
		}
		if !s.Later && s.Example == "" {
			t.Errorf("step %q has no example", s.Name)
		}
	}
}

func checkSetting(t *testing.T, path string, s *Setting, named bool) {
	if named && s.Doc == "" {
		t.Errorf("%s has no doc", path)
	}
	if (s.Kind == List || s.Kind == Map) && s.Elem == nil || s.Kind == Either && len(s.Forms) == 0 {
		t.Errorf("%s is not complete", path)
	}
	for _, l := range s.LaterChoices {
		found := false
		for _, c := range s.Choices {
			found = found || c == l
		}
		if !found {
			t.Errorf("%s: %q is no choice", path, l)
		}
	}
	seen := map[string]bool{}
	for i := range s.Fields {
		f := &s.Fields[i]
		if seen[f.Name] {
			t.Errorf("%s has two settings %q", path, f.Name)
		}
		seen[f.Name] = true
		checkSetting(t, path+"."+f.Name, f, true)
	}
	for i := range s.Forms {
		checkSetting(t, path, &s.Forms[i], false)
	}
	if s.Elem != nil {
		checkSetting(t, path, s.Elem, false)
	}
}
