package logbroker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/levada/levada/logbroker/sasl"
)

// TestRefusedLoginsAreLogged: why a login was refused is in the log, once a second for a listener
// and with how many more there were, and nothing of what the client has sent.
func TestRefusedLoginsAreLogged(t *testing.T) {
	const secret = "correct-horse-battery"
	var ahead atomic.Int64
	begin := time.Now()
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(keys, []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, addr, log := serveSecured(t, Config{
		Security: Security{Users: map[string]Password{"ann": secret}, Tokens: sasl.TokenConfig{Keys: keys, Issuer: "i", Audience: "a"}},
		Now:      func() time.Time { return begin.Add(time.Duration(ahead.Load())) },
	}, Listener{SASL: []string{"PLAIN", "OAUTHBEARER"}, PlainUnencrypted: true})
	told := func(mechanism, reason string, leftOut int) {
		t.Helper()
		want := fmt.Sprintf("level=WARN msg=\"login refused\" listener=%s client=127.0.0.1 mechanism=%s reason=%q left_out=%d\n", addr, mechanism, reason, leftOut)
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%d times in the log: %s\n%s", n, want, log)
		}
		ahead.Add(int64(time.Second))
	}
	try := func(mechanism, message string) {
		t.Helper()
		w := dialWire(t, addr)
		w.handshake(1, mechanism)
		req := kmsg.NewPtrSASLAuthenticateRequest()
		req.Version, req.SASLAuthBytes = 2, []byte(message)
		if resp, err := w.call(req); err != nil || mechanism == "PLAIN" && resp.(*kmsg.SASLAuthenticateResponse).ErrorCode == 0 {
			t.Fatalf("%s: %+v, %v", mechanism, resp, err)
		}
	}
	for range 3 {
		try("PLAIN", "\x00ann\x00my-"+secret)
	}
	told("PLAIN", "unknown user or wrong password", 0)
	try("PLAIN", "\x00eve\x00my-"+secret)
	told("PLAIN", "unknown user or wrong password", 2)
	try("PLAIN", "root\x00ann\x00"+secret)
	told("PLAIN", "a user may not act as another", 0)
	try("OAUTHBEARER", "n,,\x01auth=Bearer my-"+secret+"\x01\x01") // who goes without a word more
	told("OAUTHBEARER", "the token is no JWT, or is not signed with a public key", 0)
	if n := strings.Count(log.String(), "level=WARN"); n != 4 || strings.Contains(log.String(), secret) {
		t.Errorf("%d warnings:\n%s", n, log)
	}
}
