package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/runtime/logclient"
)

// Config describes a cluster.
type Config struct {
	// Brokers are addresses to begin with, HOST:PORT. Required.
	Brokers []string
	// ClientID is shown in the broker's logs. Default "levada".
	ClientID string
	// Options are given to every franz-go client, for TLS and SASL.
	Options []kgo.Opt
	// Logger defaults to slog.Default.
	Logger *slog.Logger
}

const openTimeout = 5 * time.Second

// Log implements logclient.Log.
type Log struct {
	cfg    Config
	direct *client
	// v2 tells whether the cluster has transaction.version 2 (KIP-890).
	v2 bool
}

var _ logclient.Log = (*Log)(nil)

// Open connects to a cluster. It returns once a broker has answered, at the
// latest after 5 s with ErrUnreachable, which names the addresses.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("kafka: no broker address: give at least one HOST:PORT")
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "levada"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	c, err := newClient(cfg, true)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	l := &Log{cfg: cfg, direct: c}
	if err := l.readFeatures(ctx); err != nil {
		c.close()
		return nil, err
	}
	return l, nil
}

// readFeatures asks what the cluster can do.
func (l *Log) readFeatures(ctx context.Context) error {
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, l.direct.Client)
	if err != nil {
		return l.direct.failure("open", err)
	}
	if err := l.direct.answer("open", resp.ErrorCode); err != nil {
		return err
	}
	level, newest := int16(0), int16(0)
	for _, f := range resp.FinalizedFeatures {
		if f.Name == "transaction.version" {
			level = f.MaxVersionLevel
		}
	}
	for _, k := range resp.ApiKeys {
		if k.ApiKey == kmsg.EndTxn.Int16() {
			newest = k.MaxVersion
		}
	}
	l.v2 = level >= 2 && newest >= 5
	return nil
}

// NewWriter implements logclient.Log.
func (l *Log) NewWriter(cfg logclient.WriterConfig) (logclient.Writer, error) {
	if cfg.TransactionalID == "" {
		return nil, errors.New("kafka: a writer needs a transactional id")
	}
	c, err := newClient(l.cfg, l.v2)
	if err != nil {
		return nil, err
	}
	p := newProducer(c, l.v2, cfg.TransactionalID, cfg.TransactionTimeout, nil, func() {})
	return &writer{p}, nil
}

// writer implements logclient.Writer.
type writer struct{ *producer }

// Close implements logclient.Writer.
func (w *writer) Close() error {
	w.stop(true)
	w.c.close()
	return nil
}

// NewReader implements logclient.Log.
func (l *Log) NewReader(cfg logclient.ReaderConfig) (logclient.Reader, error) {
	c, err := newClient(l.cfg, l.v2)
	if err != nil {
		return nil, err
	}
	f := newFetcher(c, !cfg.ReadUncommitted, cfg.MaxPollBytes)
	f.explicit = true
	for _, p := range cfg.Positions {
		f.Seek(p)
	}
	return &reader{f}, nil
}

// reader implements logclient.Reader.
type reader struct{ *fetcher }

// Close implements logclient.Reader.
func (r *reader) Close() error {
	r.c.close()
	return nil
}

// Admin implements logclient.Log.
func (l *Log) Admin() logclient.Admin { return admin{l.direct} }

// Close implements logclient.Log.
func (l *Log) Close() error {
	l.direct.close()
	return nil
}

// String names the cluster in messages.
func (l *Log) String() string { return fmt.Sprintf("kafka %v", l.cfg.Brokers) }
