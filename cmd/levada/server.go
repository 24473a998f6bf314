package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/levada/levada/logbroker"
)

type serverFlags struct {
	data, listen, advertise, fsync string
	partitions                     int32
	cacheMiB                       int64
	autoCreate                     bool
}

func (a *app) serverCommand() *cobra.Command {
	f := &serverFlags{}
	c := &cobra.Command{
		Use: "server", Short: "Run the broker: a durable log that speaks the Kafka protocol", Args: cobra.NoArgs,
		Example: "  levada server --data /var/lib/levada\n  levada server --data /tmp/log --listen 127.0.0.1:0",
		RunE:    func(c *cobra.Command, _ []string) error { return a.serve(c, f) },
	}
	c.Flags().StringVar(&f.data, "data", "", "data directory (required)")
	c.Flags().StringVar(&f.listen, "listen", defaultBrokers, "address to listen on, HOST:PORT; port 0 takes a free one and prints it")
	c.Flags().StringVar(&f.advertise, "advertise", "", "address that clients are told, HOST:PORT (default: the one listened on)")
	c.Flags().StringVar(&f.fsync, "fsync", "always", "when a write is acknowledged: always (on disk), interval (a power loss takes up to 50 ms), os (up to 1 s)")
	c.Flags().Int32Var(&f.partitions, "default-partitions", 1, "partitions of a topic created without a number")
	c.Flags().Int64Var(&f.cacheMiB, "cache-mib", 1024, "about how much of the log is kept in the page cache, in MiB; raise it where consumers lag, -1 leaves it to the kernel")
	c.Flags().BoolVar(&f.autoCreate, "auto-create-topics", true, "create topics that clients write to")
	return c
}

var fsyncPolicies = map[string]logbroker.FsyncPolicy{
	"always": logbroker.FsyncAlways, "interval": logbroker.FsyncInterval, "os": logbroker.FsyncOS,
}

func (a *app) serve(c *cobra.Command, f *serverFlags) error {
	var faults []error
	if f.data == "" {
		faults = append(faults, errors.New("--data is missing: name a directory for the log"))
	}
	fsync, ok := fsyncPolicies[f.fsync]
	if !ok {
		faults = append(faults, fmt.Errorf("--fsync %q: use always, interval or os", f.fsync))
	}
	if f.cacheMiB < -1 || f.cacheMiB == 0 || f.cacheMiB > 1<<40 {
		faults = append(faults, fmt.Errorf("--cache-mib %d: use at least 1, or -1 for no bound", f.cacheMiB))
	}
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		faults = append(faults, fmt.Errorf("--listen %q: write HOST:PORT", f.listen))
	}
	host, port, err := splitAdvertised(f.advertise)
	if err := errors.Join(append(faults, err)...); err != nil {
		return inputError(err)
	}
	fatal := make(chan error, 1)
	ln, err := net.Listen("tcp", f.listen)
	if err != nil {
		return environmentError(fmt.Errorf("listen on %s: %w; is another server running? choose another with --listen", f.listen, err))
	}
	defer ln.Close()
	broker, err := logbroker.Open(logbroker.Config{
		Dir: f.data, Fsync: fsync, Logger: a.logger(true), AdvertisedHost: host, AdvertisedPort: port,
		AutoCreateTopics: f.autoCreate, DefaultPartitions: f.partitions, Limits: logbroker.Limits{CacheBytes: cacheBytes(f.cacheMiB)},
		OnFatal: func(err error) {
			select {
			case fatal <- err:
			default:
			}
		},
	})
	if err != nil {
		return environmentError(err)
	}
	return a.serveUntil(c.Context(), c, broker, ln, fatal)
}

// cacheBytes is the limit of the broker for a flag that was checked.
func cacheBytes(mib int64) int64 {
	if mib < 0 {
		return -1
	}
	return mib << 20
}

func splitAdvertised(s string) (host string, port int32, err error) {
	if s == "" {
		return "", 0, nil
	}
	host, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("--advertise %q: write HOST:PORT", s)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("--advertise %q: %q is no port", s, p)
	}
	return host, int32(n), nil
}

// serveUntil serves until the context ends or the broker can no longer promise
// that what it acknowledges is durable.
func (a *app) serveUntil(ctx context.Context, c *cobra.Command, broker *logbroker.Broker, ln net.Listener, fatal <-chan error) error {
	served := make(chan error, 1)
	go func() { served <- broker.Serve(ln) }()
	if a.output == "json" {
		if err := a.print(c.OutOrStdout(), map[string]string{"listening": ln.Addr().String()}, table{}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(c.OutOrStdout(), "listening on %s\n", ln.Addr())
	}
	select {
	case err := <-fatal:
		return environmentError(fmt.Errorf("stopped, because nothing can be promised to be durable any more: %w", err))
	case err := <-served:
		return errors.Join(err, broker.Close())
	case <-ctx.Done():
		err := broker.Close()
		<-served
		return err
	}
}
