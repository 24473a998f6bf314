//go:build planted

package logbroker

import (
	"testing"

	"github.com/levada/levada/internal/planted"
)

// TestTheSimulationFindsPlantedFaults breaks promises on purpose: each must be
// found by some seed.
func TestTheSimulationFindsPlantedFaults(t *testing.T) {
	sabotages := map[string]func(*sim){
		"a recovered tail is not synced": func(s *sim) { s.deafOpens = true },
	}
	for _, f := range planted.All() {
		sabotages[string(f)] = func(s *sim) {
			plan, err := planted.New(f)
			if err != nil {
				s.t.Fatal(err)
			}
			s.plant = plan
		}
	}
	for name, sabotage := range sabotages {
		t.Run(name, func(t *testing.T) {
			for seed := range 1000 {
				if failure := newSim(t, uint64(seed), sabotage).run(); failure != "" {
					t.Logf("seed %d: %s", seed, failure)
					return
				}
			}
			t.Error("no seed noticed")
		})
	}
}

// TestTheNetworkFindsPlantedFaults takes the guards of KAFKA-17754 out: some seed
// must notice.
func TestTheNetworkFindsPlantedFaults(t *testing.T) {
	for _, f := range append(planted.Late(), planted.DecideEarly, planted.ForgetEarly) {
		t.Run(string(f), func(t *testing.T) {
			for seed := range uint64(400) {
				plan, err := planted.New(f)
				if err != nil {
					t.Fatal(err)
				}
				if bad := newTxnWorld(t, seed, plan).run(); bad != "" {
					t.Logf("seed %d: %s", seed, bad)
					return
				}
			}
			t.Error("no seed noticed")
		})
	}
}
