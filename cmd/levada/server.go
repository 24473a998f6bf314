package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/levada/levada/logbroker"
)

type serverFlags struct {
	data, advertise, fsync string
	listen                 []string
	partitions             int32
	cacheMiB               int64
	autoCreate             bool
	rebalanceDelay         time.Duration
	connections, perHost   int
	profile                string // where the CPU profile goes
	security               securityFlags
}

func (a *app) serverCommand() *cobra.Command {
	f := &serverFlags{}
	c := &cobra.Command{
		Use: "server", Short: "Run the broker: a durable log that speaks the Kafka protocol", Args: cobra.NoArgs,
		Example: "  levada server --data /var/lib/levada\n  levada server --data /tmp/log --listen 127.0.0.1:0\n  levada server --data /tmp/log --listen sasl+tls://:9093=kafka.example.com:9093 --tls-cert cert.pem --tls-key key.pem --users users",
		RunE:    func(c *cobra.Command, _ []string) error { return a.serve(c, f) },
	}
	c.Flags().StringVar(&f.data, "data", "", "data directory (required)")
	c.Flags().StringArrayVar(&f.listen, "listen", []string{defaultBrokers}, "address to listen on, [SCHEME://]HOST:PORT[=ADVERTISED]; port 0 takes a free one and prints it; the schemes are plain, tls, sasl and sasl+tls; can be repeated")
	c.Flags().StringVar(&f.advertise, "advertise", "", "address that clients of the first listener are told, HOST:PORT (default: the one listened on)")
	c.Flags().StringVar(&f.fsync, "fsync", "always", "when a write is acknowledged: always (on disk), interval (a power loss takes up to 50 ms), os (up to 1 s)")
	c.Flags().Int32Var(&f.partitions, "default-partitions", 1, "partitions of a topic created without a number")
	c.Flags().Int64Var(&f.cacheMiB, "cache-mib", 1024, "about how much of the log is kept in the page cache, in MiB; raise it where consumers lag, -1 leaves it to the kernel")
	c.Flags().BoolVar(&f.autoCreate, "auto-create-topics", true, "create topics that clients write to")
	c.Flags().DurationVar(&f.rebalanceDelay, "initial-rebalance-delay", 0, "how long the first members of a group wait for more, and each of these again, such as 3s")
	c.Flags().IntVar(&f.connections, "max-connections", 4096, "connections at once")
	c.Flags().IntVar(&f.perHost, "max-connections-per-host", 0, "connections of one address at once (default: as many as there can be)")
	c.Flags().StringVar(&f.profile, "cpuprofile", "", "write a CPU profile until the server ends")
	f.security.add(c.Flags())
	return c
}

var fsyncPolicies = map[string]logbroker.FsyncPolicy{
	"always": logbroker.FsyncAlways, "interval": logbroker.FsyncInterval, "os": logbroker.FsyncOS,
}

// heapFloor is memory that is never touched, and so costs none: garbage is collected
// when the heap has doubled, and that of an idle broker is so small that a few
// requests double it.
const heapFloor = 32 << 20

// spareProcessors are what Go schedules on beside the processors that there are.
const spareProcessors = 2

// addProcessors makes up for processors that Go leaves to system calls for a while: who
// waits for the disk holds one, on a machine with two nobody else gets on. Where the
// environment sets how many there are it adds none.
func addProcessors() bool {
	if os.Getenv("GOMAXPROCS") != "" {
		return false
	}
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spareProcessors)
	return true
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
	if f.connections < 1 || f.perHost < 0 {
		faults = append(faults, errors.New("--max-connections and --max-connections-per-host: use at least 1"))
	}
	if f.rebalanceDelay < 0 {
		faults = append(faults, fmt.Errorf("--initial-rebalance-delay %v: use 0 or more", f.rebalanceDelay))
	}
	logger, level := a.adjustableLogger(true)
	if f.partitions < 1 {
		faults = append(faults, fmt.Errorf("--default-partitions %d: use at least 1", f.partitions))
	}
	endpoints, err := f.security.endpoints(f.listen, f.advertise, logger)
	security, err2 := f.security.security()
	if err := errors.Join(append(faults, f.security.faults(), err, err2)...); err != nil {
		return inputError(err)
	}

	keepToOwner()
	spare := addProcessors()
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	stopProfile, err := profileTo(f.profile)
	if err != nil {
		return err
	}
	defer stopProfile()
	listeners, err := listen(endpoints)
	if err != nil {
		return err
	}
	fatal := make(chan error, 1)
	broker, err := logbroker.Open(logbroker.Config{
		Dir: f.data, Fsync: fsync, Logger: logger, LogLevel: level, Security: security, AutoCreateTopics: f.autoCreate, DefaultPartitions: f.partitions,
		InitialRebalanceDelay: f.rebalanceDelay, SpareProcessor: spare,
		Limits: logbroker.Limits{CacheBytes: cacheBytes(f.cacheMiB), Connections: boundConnections(f.connections, logger), ConnectionsPerHost: f.perHost},
		OnFatal: func(err error) {
			select {
			case fatal <- err:
			default:
			}
		},
	})
	if err != nil {
		closeAll(listeners)
		return environmentError(err)
	}
	stopControl, err := serveControl(f.data, broker, logger)
	if err != nil {
		closeAll(listeners)
		return environmentError(errors.Join(err, broker.Close()))
	}
	defer stopControl()
	return a.serveUntil(c.Context(), c, broker, endpoints, listeners, fatal)
}

// listen opens all addresses, or none.
func listen(endpoints []endpoint) ([]net.Listener, error) {
	var out []net.Listener
	for _, e := range endpoints {
		ln, err := net.Listen("tcp", e.address)
		if err != nil {
			closeAll(out)
			return nil, environmentError(unheard(e.address, err))
		}
		out = append(out, ln)
	}
	return out, nil
}

// unheard says why an address cannot be listened on.
func unheard(address string, err error) error {
	var name *net.DNSError
	var at *net.OpError
	switch {
	case errors.As(err, &name):
		return fmt.Errorf("listen on %s: the name %q has no address: name one of this machine with --listen", address, name.Name)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen on %s: %w; is another server running? choose another with --listen", address, syscall.EADDRINUSE)
	case errors.As(err, &at):
		err = at.Err
	}
	return fmt.Errorf("listen on %s: %w; choose another with --listen", address, err)
}

func closeAll(listeners []net.Listener) {
	for _, ln := range listeners {
		_ = ln.Close() // nobody has been told of it
	}
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
	if err != nil || host == "" {
		return "", 0, fmt.Errorf("advertised address %q: write HOST:PORT", s)
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("advertised address %q: %q is no port: use a number from 1 to 65535", s, p)
	}
	return host, int32(n), nil
}

// serveUntil serves until the context ends or the broker can no longer promise
// that what it acknowledges is durable.
func (a *app) serveUntil(ctx context.Context, c *cobra.Command, broker *logbroker.Broker, endpoints []endpoint, listeners []net.Listener, fatal <-chan error) error {
	served := make(chan error, len(listeners))
	var told []string
	for _, e := range endpoints {
		if err := broker.CheckListener(e.with); err != nil {
			closeAll(listeners)
			return inputError(errors.Join(err, broker.Close()))
		}
	}
	for i, ln := range listeners {
		go func() { served <- broker.ServeListener(ln, endpoints[i].with) }()
		address := ln.Addr().String()
		if endpoints[i].scheme != "plain" {
			address = endpoints[i].scheme + "://" + address
		}
		told = append(told, address)
	}
	if err := a.tellListeners(c, listeners[0].Addr().String(), told); err != nil {
		return err
	}
	select {
	case err := <-fatal:
		return environmentError(fmt.Errorf("stopped, because nothing can be promised to be durable any more: %w", err))
	case err := <-served:
		closeAll(listeners)
		return errors.Join(err, broker.Close())
	case <-ctx.Done():
		err := broker.Close()
		for range listeners {
			err = errors.Join(err, <-served)
		}
		return err
	}
}

func (a *app) tellListeners(c *cobra.Command, first string, all []string) error {
	if a.output == "json" {
		return a.print(c.OutOrStdout(), map[string]any{"listening": first, "listeners": all}, table{})
	}
	for _, address := range all {
		if _, err := fmt.Fprintf(c.OutOrStdout(), "listening on %s\n", address); err != nil {
			return err
		}
	}
	return nil
}
