package logbroker

import (
	"errors"
	"net"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestAdvertised: the clients of a listener are told its address, else the broker's, else
// where it listens, in every version of every answer that has one.
func TestAdvertised(t *testing.T) {
	for name, broker := range map[string]advertised{"the broker has one": {"broker.example", 7}, "none": {}} {
		b, err := Open(Config{Dir: "data", FS: vfs.NewMem(), AdvertisedHost: broker.host, AdvertisedPort: broker.port})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 3)
		for _, c := range []struct{ listen, host string }{{"127.0.0.1:0", ""}, {"0.0.0.0:0", ""}, {"127.0.0.1:0", "listener.example"}} {
			ln, err := net.Listen("tcp4", c.listen)
			if err != nil {
				t.Fatal(err)
			}
			l, port := Listener{}, int32(ln.Addr().(*net.TCPAddr).Port)
			var want advertised
			switch {
			case c.host != "":
				l.AdvertisedHost, l.AdvertisedPort = c.host, 9
				want = advertised{c.host, 9}
			case broker.host != "":
				want = broker
			case c.listen == "0.0.0.0:0":
				want = advertised{"localhost", port}
			default:
				want = advertised{"127.0.0.1", port}
			}
			go func() { served <- b.ServeListener(ln, l) }()
			w := dialWire(t, (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(port)}).String())
			for _, key := range []kmsg.Key{kmsg.Metadata, kmsg.FindCoordinator, kmsg.DescribeCluster} {
				for v := b.handlers[key.Int16()].min; v <= b.handlers[key.Int16()].max; v++ {
					if got := toldBy(t, w, key, v); got != want {
						t.Errorf("%s: %s, %q: %s version %d tells %v, want %v", name, c.listen, c.host, key.Name(), v, got, want)
					}
				}
			}
		}
		if err := errors.Join(b.Close(), <-served, <-served, <-served); err != nil {
			t.Error(err)
		}
	}
}

// toldBy is the address that an answer tells.
func toldBy(t *testing.T, w *wire, key kmsg.Key, version int16) advertised {
	t.Helper()
	req := kmsg.RequestForKey(key.Int16())
	req.SetVersion(version)
	if find, ok := req.(*kmsg.FindCoordinatorRequest); ok {
		find.CoordinatorKey, find.CoordinatorKeys = "g", []string{"g"}
	}
	resp, err := w.call(req)
	if err != nil {
		t.Fatal(err)
	}
	switch resp := resp.(type) {
	case *kmsg.MetadataResponse:
		return advertised{resp.Brokers[0].Host, resp.Brokers[0].Port}
	case *kmsg.FindCoordinatorResponse:
		if version >= 4 {
			return advertised{resp.Coordinators[0].Host, resp.Coordinators[0].Port}
		}
		return advertised{resp.Host, resp.Port}
	default:
		brokers := resp.(*kmsg.DescribeClusterResponse).Brokers
		return advertised{brokers[0].Host, brokers[0].Port}
	}
}
