//go:build planted

package planted

import (
	"strings"
	"testing"
)

func TestAFaultActsNowAndThen(t *testing.T) {
	for _, f := range append(All(), Late()...) {
		p, err := New(f)
		if err != nil {
			t.Fatal(err)
		}
		acted := 0
		for range 60 {
			if p.Acts(f) {
				acted++
			}
			for _, other := range append(All(), Late()...) {
				if other != f && p.Acts(other) {
					t.Errorf("%s was planted, and %s acts", f, other)
				}
			}
		}
		if want := 60 / int(every[f]); acted != want {
			t.Errorf("%s acted %d times of 60, want %d", f, acted, want)
		}
	}
	var none *Plan
	if none.Acts(SkipSync) {
		t.Error("nothing was planted, and acts")
	}
}

func TestAnUnknownFaultIsRefused(t *testing.T) {
	_, err := New("skip-lunch")
	if err == nil || !strings.Contains(err.Error(), `"skip-lunch"`) || !strings.Contains(err.Error(), "skip-sync, drop-marker") {
		t.Errorf("an unknown fault: %v", err)
	}
}
