package chaos

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/levada/levada/internal/planted"
)

// TestPlantedFaultsAreFound runs a server with each fault that can be planted in
// it, until it is found, and prints which anomalies gave it away. Without a fault
// the same server must be clean.
func TestPlantedFaultsAreFound(t *testing.T) {
	needsE2E(t)
	var matrix []string
	for _, fault := range append([]planted.Fault{""}, planted.All()...) {
		name := string(fault)
		if fault == "" {
			name = "none"
		}
		t.Run(name, func(t *testing.T) {
			c := config(t)
			c.Binary, c.Kills, c.PowerLoss = plantedProgram, 4, true
			c.Env = []string{planted.Variable + "=" + string(fault)}
			c.Duration = 60 * time.Second
			if fault == "" {
				c.Rounds = 2
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
