package chaos

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/levada/levada/internal/planted"
	"github.com/levada/levada/internal/powerloss"
)

// needPowerLoss are faults that do nothing wrong as long as the power stays.
var needPowerLoss = []planted.Fault{planted.SkipSync, planted.DecideEarly, planted.ForgetEarly}

// soon is how long it may take to find a fault, with the round that is under way.
const soon = 60 * time.Second

// TestPlantedFaultsAreFound runs a server with each fault that can be planted in
// it, until it is found, and prints which anomalies gave it away. Without a fault
// the same server must be clean.
func TestPlantedFaultsAreFound(t *testing.T) {
	needsE2E(t)
	binary := filepath.Join(t.TempDir(), "levada")
	if !build("-tags", "planted", "-o", binary) {
		t.Fatal("cmd/levada does not build with -tags planted")
	}
	var matrix []string
	for _, fault := range append([]planted.Fault{""}, planted.All()...) {
		name := string(fault)
		if fault == "" {
			name = "none"
		}
		t.Run(name, func(t *testing.T) {
			if err := powerloss.Available(); err != nil && slices.Contains(needPowerLoss, fault) {
				matrix = append(matrix, fmt.Sprintf("%-16s SKIPPED: no power loss can be made here: %v", name, err))
				t.Skipf("no power loss can be made here: %v", err)
			}
			c := config(t)
			c.Binary, c.Kills, c.PowerLoss = binary, 4, true
			c.Env = []string{planted.Variable + "=" + string(fault)}
			c.Duration = soon
			if fault == "" {
				c.Rounds = 3
			}
			began := time.Now()
			result, err := Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			matrix = append(matrix, fmt.Sprintf("%-16s %4.0f s  %v", name, time.Since(began).Seconds(), result.Report.Classes()))
			if found := !result.Report.OK(); found != (fault != "") {
				t.Errorf("found: %v\n%s", found, result.Report)
			}
		})
	}
	t.Logf("the catch matrix:\n%s", strings.Join(matrix, "\n"))
}
