// Package tlsfiles makes TLS configurations of PEM files, and takes up new ones
// when the files change, so that certificates are renewed without a restart.
package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery is the least time between two looks at the files.
const lookEvery = time.Second

// Files are the PEM files of a server.
type Files struct {
	// Cert and Key are the server's certificate, with those between it and its
	// authority, and its private key.
	Cert, Key string
	// ClientCA are the authorities of client certificates; empty asks for none.
	ClientCA string
	// ClientRequired refuses clients without a certificate.
	ClientRequired bool
	// Now is the clock. Default: time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Server is a TLS configuration that follows the files: a change is taken up within
// a second or so of the next handshake. Files that cannot be read then are logged,
// once until they change, and the old ones stay in use.
func Server(f Files) (*tls.Config, error) {
	if f.Now == nil {
		f.Now = time.Now
	}
	if f.Logger == nil {
		f.Logger = slog.New(slog.DiscardHandler)
	}
	w := &watched{files: f}
	if err := w.load(); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return w.current(), nil },
	}, nil
}

// watched is a configuration with the state of the files that it was made of.
type watched struct {
	files Files

	mu     sync.Mutex // guards what follows
	config *tls.Config
	stamps [3]stamp // of the files that config was made of
	failed [3]stamp // of those that could not be read, and
	fault  string   // why, as it was said; empty if nothing is wrong
	looked time.Time
}

// stamp is what changes with a file.
type stamp struct {
	size  int64
	mtime time.Time
}

func (w *watched) names() [3]string { return [3]string{w.files.Cert, w.files.Key, w.files.ClientCA} }

// look finds the state of the files; one that cannot be looked at is all zero.
func (w *watched) look() (out [3]stamp, err error) {
	var errs []error
	for i, name := range w.names() {
		if name == "" {
			continue
		}
		info, err := os.Stat(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out[i] = stamp{info.Size(), info.ModTime()}
	}
	return out, errors.Join(errs...)
}

// current is the configuration of the files as they are now.
func (w *watched) current() *tls.Config {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.files.Now()
	if now.Sub(w.looked) < lookEvery {
		return w.config
	}
	w.looked = now
	stamps, err := w.look()
	if err == nil && stamps == w.stamps {
		w.fault = ""
		return w.config
	}
	if err == nil {
		err = w.load()
	}
	switch {
	case err == nil:
		w.fault = ""
		w.files.Logger.Info("TLS files were read again", "cert", w.files.Cert)
	case err.Error() != w.fault || stamps != w.failed: // it is tried on, and said once
		w.fault, w.failed = err.Error(), stamps
		w.files.Logger.Error("new TLS files are not used; the old ones stay", "error", err)
	}
	return w.config
}

// load reads the files. The caller holds mu, or is alone.
func (w *watched) load() error {
	stamps, err := w.look()
	if err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(w.files.Cert, w.files.Key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", w.files.Cert, w.files.Key, err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if w.files.ClientCA != "" {
		if config.ClientCAs, err = Authorities(w.files.ClientCA); err != nil {
			return err
		}
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	if w.files.ClientRequired {
		if w.files.ClientCA == "" {
			return errors.New("TLS: client certificates are required, but there is no authority to check them with")
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	w.config, w.stamps = config, stamps
	return nil
}

// Authorities reads the certificates of authorities from a PEM file.
func Authorities(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("TLS authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("TLS authorities: %s has no certificate in PEM form", name)
	}
	return pool, nil
}
