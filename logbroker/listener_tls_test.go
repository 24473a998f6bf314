package logbroker

import (
	"crypto/tls"
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestOldTLS: it is the broker that refuses who offers less than TLS 1.2, and says why;
// a configuration for the client that would take it does not let it in.
func TestOldTLS(t *testing.T) {
	ca := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue("server", time.Hour)}}
	old := config.Clone()
	old.MinVersion = tls.VersionTLS10
	for name, server := range map[string]*tls.Config{
		"no version is set": config,
		"1.2 is set":        {MinVersion: tls.VersionTLS12, Certificates: config.Certificates},
		"1.0 for clients":   {MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return old, nil }},
	} {
		_, addr, log := serveSecured(t, Config{}, Listener{TLS: server})
		for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			secured := tls.Client(c, &tls.Config{RootCAs: ca.pool(), ServerName: "127.0.0.1", MinVersion: version, MaxVersion: version})
			handshake := secured.Handshake()
			frame := frameOf(&kmsg.MetadataRequest{Version: 9})
			_, _ = secured.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
			n, _ := secured.Read(make([]byte, 1))
			served := n > 0
			_ = c.Close()
			if served != (version >= tls.VersionTLS12) {
				t.Errorf("%s: %s: served %v, %v", name, tls.VersionName(version), served, handshake)
			}
			if !served && server.GetConfigForClient == nil && (handshake == nil || handshake.Error() != "remote error: tls: protocol version not supported") {
				t.Errorf("%s: %s: %v", name, tls.VersionName(version), handshake)
			}
		}
		if !strings.Contains(log.String(), "TLS") {
			t.Errorf("%s: the log:\n%s", name, log)
		}
	}
}
