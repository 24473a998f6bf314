package main

import (
	"os/exec"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestClientsAreToldTheirListener: each listener tells its clients its own address, in all
// answers that have one.
func TestClientsAreToldTheirListener(t *testing.T) {
	s := startCommand(t, exec.Command(binary, "server", "--data", t.TempDir(), "--output", "json",
		"--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0=inside.example:1234", "--listen", "127.0.0.1:0", "--advertise", "outside.example:4321"))
	own, port, err := splitAdvertised(s.listeners[2])
	if err != nil {
		t.Fatal(err)
	}
	type place struct {
		host string
		port int32
	}
	for i, want := range []place{{"outside.example", 4321}, {"inside.example", 1234}, {own, port}} {
		client, err := kgo.NewClient(kgo.SeedBrokers(s.listeners[i]))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		group := kmsg.NewPtrFindCoordinatorRequest()
		group.CoordinatorKey, group.CoordinatorKeys = "g", []string{"g"}
		for _, req := range []kmsg.Request{kmsg.NewPtrMetadataRequest(), group, kmsg.NewPtrDescribeClusterRequest()} {
			resp, err := client.SeedBrokers()[0].Request(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			var got []place
			switch resp := resp.(type) {
			case *kmsg.MetadataResponse:
				for _, b := range resp.Brokers {
					got = append(got, place{b.Host, b.Port})
				}
			case *kmsg.FindCoordinatorResponse:
				for _, c := range resp.Coordinators {
					got = append(got, place{c.Host, c.Port})
				}
			case *kmsg.DescribeClusterResponse:
				for _, b := range resp.Brokers {
					got = append(got, place{b.Host, b.Port})
				}
			}
			if !slices.Equal(got, []place{want}) {
				t.Errorf("listener %s: %T tells %v, want %v", s.listeners[i], resp, got, want)
			}
		}
	}
}
